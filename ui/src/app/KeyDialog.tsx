import { Button, Group, Modal, PasswordInput, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { keyDialog } from "./client";

/** Asks for the API key of the service. */
export default function KeyDialog() {
  const { t } = useTranslation();
  const [key, setKey] = useState("");
  return (
    <Modal opened onClose={() => undefined} withCloseButton={false} title={t("API key")} centered>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim()) keyDialog.submit(key.trim());
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
            onChange={(event) => setKey(event.currentTarget.value)}
            autoComplete="off"
          />
          <Group justify="flex-end">
            <Button type="submit" disabled={!key.trim()}>
              {t("Continue")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
