import { Button, Group, Modal, PasswordInput, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { keyDialog } from "./client";

/** Asks for the API key of the service. */
export default function KeyDialog() {
  const { t } = useTranslation();
  const [key, setKey] = useState("");
  const [isRejected, setRejected] = useState(false);
  const [isChecking, setChecking] = useState(false);
  const submit = async () => {
    setChecking(true);
    setRejected(!(await keyDialog.submit(key.trim())));
    setChecking(false);
  };
  return (
    <Modal opened onClose={() => undefined} withCloseButton={false} title={t("API key")} centered>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim()) void submit();
        }}
      >
        <Stack gap="sm">
          <Text size="sm">
            {t("This service requires a key. It is kept until you close the tab.")}
          </Text>
          <PasswordInput
            data-autofocus
            label={t("Key")}
            value={key}
            error={isRejected && t("The service rejects this key")}
            onChange={(event) => setKey(event.currentTarget.value)}
            autoComplete="off"
          />
          <Group justify="flex-end">
            <Button type="submit" loading={isChecking} disabled={!key.trim()}>
              {t("Continue")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
