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

export function apiUrl(path: string): URL {
  return new URL(`api/cask/v1/${path}`, base());
}
