import { Alert, Button } from "@mantine/core";
import { useTranslation } from "react-i18next";

/** Announces rows above a list, which does not move until they are wanted. */
export function NewRows({ count, onShow }: { count: number; onShow: () => void }) {
  const { t } = useTranslation();
  if (count === 0) return null;
  return (
    <Alert className="new-rows" p={6} mb={4} ta="center" aria-live="polite">
      <Button variant="subtle" onClick={onShow}>
        {t("Show {{count}} new", { count })}
      </Button>
    </Alert>
  );
}
