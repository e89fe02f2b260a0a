import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["tests/*.test.ts"] } },
      {
        test: {
          name: "browser",
          include: ["tests/browser/*.test.ts"],
          globalSetup: "tests/browser/setup.ts",
          testTimeout: 180_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "screenshots",
          include: ["tests/screenshots/*.test.ts"],
          globalSetup: "tests/browser/setup.ts",
          testTimeout: 180_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
