import { defineConfig } from "tsdown";

export default defineConfig({
  entry: {
    index: "src/index.ts",
    react: "src/react/index.ts",
    flow: "src/flow/index.ts",
    query: "src/query.ts",
  },
  format: "esm",
  platform: "neutral",
  target: "es2022",
  dts: true,
  minify: true,
  sourcemap: true,
  fixedExtension: false,
  external: [/^react/, /^@xyflow/, /^@tanstack/],
});
