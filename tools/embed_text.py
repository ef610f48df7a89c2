"""A text file as a C source: its bytes, ended by a zero. Usage: embed_text.py FILE NAME SOURCE"""

import pathlib
import sys

source, name, target = sys.argv[1:]
content = pathlib.Path(source).read_bytes() + b"\0"
lines = (", ".join(map(str, content[at : at + 24])) for at in range(0, len(content), 24))
declared = f"extern const char {name}[];\nconst char {name}[] = {{\n    "
pathlib.Path(target).write_text(declared + ",\n    ".join(lines) + ",\n};\n")
