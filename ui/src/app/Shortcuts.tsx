import { Group, Kbd, Modal, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";

const KEYS = [
  ["/", "Search"],
  ["Ctrl K", "Commands"],
  ["j", "Next row"],
  ["k", "Previous row"],
  ["g e", "Executions"],
  ["g w", "Workflows"],
  ["g t", "Tasks"],
  ["g f", "Failures"],
  ["r", "Rerun"],
  ["c", "Cancel the execution"],
  ["0", "Fit the timeline"],
  ["Esc", "Close the panel"],
  ["?", "This list"],
] as const;

export default function Shortcuts(props: { opened: boolean; onClose: () => void }) {
  const { t } = useTranslation();
  return (
    <Modal
      {...props}
      title={t("Keyboard shortcuts")}
      closeButtonProps={{ "aria-label": t("Close") }}
    >
      <Stack gap={8}>
        {KEYS.map(([keys, label]) => (
          <Group key={keys} justify="space-between">
            <Text size="sm">{t(label)}</Text>
            <Group gap={4}>
              {keys.split(" ").map((key) => (
                <Kbd key={key}>{key}</Kbd>
              ))}
            </Group>
          </Group>
        ))}
      </Stack>
    </Modal>
  );
}
