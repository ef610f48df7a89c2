// Where the pages live. The shell's <base> is relative to the page's own address, which changes as one goes from page
// to page, so it is made absolute once; all other addresses are relative to it, behind whatever proxy and prefix.
let root: URL | undefined;

export function base(): URL {
  if (root === undefined) {
    root = new URL(document.baseURI);
    root.search = "";
    root.hash = "";
    document.querySelector("base")?.setAttribute("href", root.href);
  }
  return root;
}

// A run that is kept is shown below history/NAME/: its name there, and where the others are.
const KEPT = /\/history\/([\w-]+)\/$/;

export const keptName = (): string | undefined => KEPT.exec(base().pathname)?.[1];
export const outer = (): URL => (keptName() === undefined ? base() : new URL("../../", base()));

export function apiUrl(path: string, root = base()): URL {
  return new URL(`api/cask/v1/${path}`, root);
}
