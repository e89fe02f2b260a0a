import { Button, Group } from "@mantine/core";
import { useTranslation } from "react-i18next";

interface Props {
  hasMore: boolean;
  isLoading: boolean;
  onLoad: () => unknown;
}

/** Loads the next page of a list, if there is one. */
export function LoadMore({ hasMore, isLoading, onLoad }: Props) {
  const { t } = useTranslation();
  if (!hasMore) return null;
  return (
    <Group justify="center" py="md">
      <Button variant="default" loading={isLoading} onClick={() => void onLoad()}>
        {t("Load more")}
      </Button>
    </Group>
  );
}
