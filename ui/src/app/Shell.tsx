import {
  ActionIcon,
  Button,
  Group,
  useComputedColorScheme,
  useMantineColorScheme,
  VisuallyHidden,
} from "@mantine/core";
import {
  IconKeyboard,
  IconLanguage,
  IconLogout,
  IconMoon,
  IconPlus,
  IconSun,
} from "@tabler/icons-react";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { lazy, Suspense, useRef, useState, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";
import { keyDialog } from "./client";
import { otherLanguage, setLanguage } from "./i18n";
import { useListKeys } from "./rows";

const Palette = lazy(() => import("./Palette"));
const KeyDialog = lazy(() => import("./KeyDialog"));
const Shortcuts = lazy(() => import("./Shortcuts"));
const LINKS = [
  ["/", "Executions"],
  ["/workflows", "Workflows"],
  ["/tasks", "Tasks"],
  ["/failures", "Failures"],
  ["/schedules", "Schedules"],
] as const;

export function Shell() {
  const { t, i18n } = useTranslation();
  const other = otherLanguage(i18n.language);
  const navigate = useNavigate();
  const path = useRouterState({ select: (state) => state.location.pathname });
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  const isKeyNeeded = useSyncExternalStore(keyDialog.subscribe, keyDialog.isOpen);
  const [isHelpOpen, setHelpOpen] = useState(false);
  const [hasPalette, setHasPalette] = useState(false);
  const lastKey = useRef({ key: "", at: 0 });
  const go = (key: string, to: (typeof LINKS)[number][0]) => () => {
    const isSequence = lastKey.current.key === "g" && Date.now() - lastKey.current.at < 1_000;
    lastKey.current = { key, at: Date.now() };
    if (isSequence) void navigate({ to });
  };
  useListKeys({
    g: () => {
      lastKey.current = { key: "g", at: Date.now() };
    },
    e: go("e", "/"),
    w: go("w", "/workflows"),
    t: go("t", "/tasks"),
    f: go("f", "/failures"),
    "mod+K": () => setHasPalette(true),
    "shift+?": () => setHelpOpen(true),
    "/": () => document.querySelector<HTMLElement>("[data-search]")?.focus(),
  });
  const isActive = (to: string) =>
    to === "/"
      ? path === "/ui" || path === "/ui/" || path.startsWith("/ui/executions") || path === "/"
      : path.includes(to);

  return (
    <>
      <a className="skip-link" href="#main">
        {t("Skip to the content")}
      </a>
      <header className="header">
        <div className="header-row">
          <Link to="/" className="brand" aria-label={t("Executions")}>
            <img src="/ui/icon.svg" width={24} height={24} alt="" />
          </Link>
          <nav aria-label={t("Main")}>
            {LINKS.map(([to, label]) => (
              <Link
                key={to}
                to={to}
                className="nav-link"
                data-active={isActive(to) || undefined}
                aria-current={isActive(to) ? "page" : undefined}
              >
                {t(label)}
              </Link>
            ))}
          </nav>
          <Group gap={4} wrap="nowrap" ml="auto">
            <Button
              component={Link}
              to="/new"
              variant="light"
              leftSection={<IconPlus size={14} />}
              visibleFrom="sm"
            >
              {t("New run")}
            </Button>
            <ActionIcon
              component={Link}
              to="/new"
              variant="light"
              hiddenFrom="sm"
              aria-label={t("New run")}
            >
              <IconPlus size={16} />
            </ActionIcon>
            <ActionIcon
              variant="subtle"
              color="gray"
              onClick={() => setHelpOpen(true)}
              title={t("Keyboard shortcuts")}
              aria-label={t("Keyboard shortcuts")}
              visibleFrom="sm"
            >
              <IconKeyboard size={18} />
            </ActionIcon>
            <ActionIcon
              variant="subtle"
              color="gray"
              lang={other.id}
              title={other.name}
              aria-label={other.name}
              onClick={() => void setLanguage(other.id)}
            >
              <IconLanguage size={18} />
            </ActionIcon>
            <ActionIcon
              variant="subtle"
              color="gray"
              title={scheme === "dark" ? t("Light mode") : t("Dark mode")}
              aria-label={scheme === "dark" ? t("Light mode") : t("Dark mode")}
              onClick={() => setColorScheme(scheme === "dark" ? "light" : "dark")}
            >
              {scheme === "dark" ? <IconSun size={18} /> : <IconMoon size={18} />}
            </ActionIcon>
            {keyDialog.hasKey() && (
              <ActionIcon
                variant="subtle"
                color="gray"
                onClick={keyDialog.forget}
                title={t("Forget the API key")}
                aria-label={t("Forget the API key")}
              >
                <IconLogout size={18} />
              </ActionIcon>
            )}
          </Group>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
      {isKeyNeeded && (
        <Suspense>
          <KeyDialog />
        </Suspense>
      )}
      {hasPalette && (
        <Suspense>
          <Palette />
        </Suspense>
      )}
      {isHelpOpen && (
        <Suspense>
          <Shortcuts opened onClose={() => setHelpOpen(false)} />
        </Suspense>
      )}
      <VisuallyHidden>
        <div id="announcer" aria-live="polite" />
      </VisuallyHidden>
    </>
  );
}
