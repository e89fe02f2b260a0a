import { Badge, Button, type CSSVariablesResolver, createTheme } from "@mantine/core";

export const theme = createTheme({
  primaryColor: "indigo",
  primaryShade: { light: 8, dark: 8 },
  defaultRadius: "md",
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace',
  fontSizes: { xs: "0.75rem", sm: "0.875rem", md: "0.875rem", lg: "1rem", xl: "1.25rem" },
  headings: {
    fontWeight: "650",
    sizes: {
      h1: { fontSize: "1.25rem", lineHeight: "1.4" },
      h2: { fontSize: "1rem", lineHeight: "1.5" },
    },
  },
  respectReducedMotion: true,
  components: {
    Button: Button.extend({ defaultProps: { size: "xs" } }),
    Badge: Badge.extend({ defaultProps: { radius: "sm", variant: "light" } }),
    // Without its import, the first load does not contain the component.
    Tooltip: { defaultProps: { openDelay: 300, withArrow: true } },
  },
});

/** Text colors with the contrast that WCAG AA requires. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-dimmed": "#5c636a",
    "--mantine-color-placeholder": "#666c75",
    "--mantine-color-red-text": "#c02424",
    "--mantine-color-error": "#c02424",
    "--mantine-color-red-light-color": "#a61e1e",
    "--mantine-color-orange-light-color": "#8f2d00",
    "--mantine-color-green-light-color": "#1a5e27",
    "--mantine-color-blue-light-color": "#124f8a",
    "--mantine-color-violet-light-color": "#4d2fb0",
    "--mantine-color-gray-light-color": "#40464c",
  },
  dark: {
    "--mantine-color-dimmed": "#a6abb1",
    "--mantine-color-placeholder": "#9aa0a6",
    "--mantine-color-error": "#ff8787",
    "--mantine-color-anchor": "#91a7ff",
  },
});
