// For working on the pages: node web/test/run.mjs --serve SCENE [PORT], SCENE one of empty, busy, failed, large, wide.
import { BUSY, Cluster, EMPTY, FAILED, LARGE } from "./cluster";
import { PageServer } from "./server";

const scenes = { empty: EMPTY, busy: BUSY, failed: FAILED, large: LARGE, wide: { ...LARGE, workers: 1000, threads: 2 } };
const [assets, scene, port] = process.argv.slice(2);
const server = new PageServer(assets, new Cluster({ ...(scenes[scene as keyof typeof scenes] ?? BUSY), began: Math.floor(Date.now() / 1000) - 15 }));
console.log(await server.listen(Number(port ?? 0)));
