import js from "@eslint/js";
import tseslint from "typescript-eslint";

const requireDescription = { "ts-expect-error": "allow-with-description", minimumDescriptionLength: 10 };

export default tseslint.config(
  // The TypeScript consumer resolves only beside an installed package, the Next.js example only with its own ones.
  {
    ignores: [
      "dist/",
      "coverage/",
      "**/.next/",
      "docs/api/",
      "test/package/consumers/vitest/",
      "examples/next/",
    ],
  },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  js.configs.recommended,
  {
    files: ["**/*.ts", "**/*.tsx"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/ban-ts-comment": ["error", requireDescription],
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/switch-exhaustiveness-check": "error",
    },
  },
  {
    files: ["src/**/*.ts"],
    rules: {
      "no-console": "error",
      "no-restricted-globals": [
        "error",
        { name: "setTimeout", message: "Timers come from the Clock." },
        { name: "setInterval", message: "Timers come from the Clock." },
      ],
      "no-restricted-properties": [
        "error",
        { object: "Date", property: "now", message: "Time comes from the Clock." },
        { object: "performance", property: "now", message: "Time comes from the Clock." },
      ],
      "no-restricted-syntax": [
        "error",
        { selector: "ExportDefaultDeclaration", message: "Named exports only." },
        { selector: "TSEnumDeclaration", message: "Use a union of strings." },
      ],
      "no-warning-comments": ["error", { terms: ["todo", "fixme", "xxx"] }],
    },
  },
  {
    // The two places that touch real time.
    files: ["src/internal/clock.ts", "src/testing/scripted-chat-model.ts"],
    rules: { "no-restricted-globals": "off", "no-restricted-properties": "off" },
  },
  {
    files: ["test/**/*.ts", "bench/**/*.ts"],
    rules: {
      // Fakes are async because their contract is; a generator that only throws needs no yield.
      "@typescript-eslint/require-await": "off",
      "require-yield": "off",
      "@typescript-eslint/no-empty-function": "off",
      "@typescript-eslint/no-non-null-assertion": "off",
    },
  },
  {
    files: ["**/*.mjs", "**/*.cjs", "**/*.js"],
    languageOptions: {
      globals: {
        Buffer: "readonly",
        URL: "readonly",
        clearInterval: "readonly",
        clearTimeout: "readonly",
        console: "readonly",
        module: "writable",
        performance: "readonly",
        process: "readonly",
        require: "readonly",
        setImmediate: "readonly",
        setInterval: "readonly",
        setTimeout: "readonly",
      },
    },
  },
  {
    // Run in browsers.
    files: ["examples/*/public/*.js"],
    languageOptions: {
      globals: {
        AbortController: "readonly",
        EventSource: "readonly",
        TextDecoderStream: "readonly",
        crypto: "readonly",
        document: "readonly",
        fetch: "readonly",
        sessionStorage: "readonly",
      },
    },
  },
  {
    files: ["test/package/consumers/jest/*"],
    languageOptions: { globals: { expect: "readonly", test: "readonly" } },
  },
);
