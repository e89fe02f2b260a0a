import i18next from "i18next";
import { initReactI18next } from "react-i18next";

const STORAGE_KEY = "workflow-language";
const LANGUAGES = [
  { id: "en", name: "English" },
  { id: "es", name: "Español" },
] as const;

function preferred(): string {
  const stored = localStorage.getItem(STORAGE_KEY);
  return stored ?? (navigator.language.toLowerCase().startsWith("es") ? "es" : "en");
}

/** Loads the texts of a language. English texts are the keys. */
async function load(language: string): Promise<void> {
  if (language !== "es" || i18next.hasResourceBundle("es", "translation")) return;
  const { es } = await import("./es");
  i18next.addResourceBundle("es", "translation", es);
}

export async function startLanguages(): Promise<void> {
  const language = preferred();
  await i18next.use(initReactI18next).init({
    lng: language,
    fallbackLng: "en",
    resources: { en: { translation: {} } },
    keySeparator: false,
    nsSeparator: false,
    interpolation: { escapeValue: false },
  });
  await load(language);
  document.documentElement.lang = language;
}

export async function setLanguage(language: string): Promise<void> {
  localStorage.setItem(STORAGE_KEY, language);
  await load(language);
  document.documentElement.lang = language;
  await i18next.changeLanguage(language);
}

/** Returns the language to which the page can change. */
export const otherLanguage = (current: string) =>
  current === LANGUAGES[0].id ? LANGUAGES[1] : LANGUAGES[0];
