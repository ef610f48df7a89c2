// What esbuild takes from imports that TypeScript knows nothing of.
declare module "*.css";
