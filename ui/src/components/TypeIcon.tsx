import {
  type Icon,
  IconApi,
  IconArrowsJoin,
  IconArrowsSplit,
  IconBolt,
  IconBox,
  IconClockPause,
  IconCode,
  IconFilter,
  IconForms,
  IconMessage,
  IconPlayerPlay,
  IconRepeat,
  IconSend,
  IconSparkles,
  IconSubtask,
  IconTablePlus,
  IconUserCheck,
  IconWebhook,
} from "@tabler/icons-react";

const ICONS: Record<string, Icon> = {
  trigger: IconPlayerPlay,
  manualInput: IconForms,
  webhook: IconWebhook,
  webhookResponse: IconSend,
  output: IconBolt,
  http: IconApi,
  llm: IconSparkles,
  condition: IconArrowsSplit,
  join: IconArrowsJoin,
  addField: IconTablePlus,
  filter: IconFilter,
  wait: IconClockPause,
  approval: IconUserCheck,
  forEach: IconRepeat,
  subworkflow: IconSubtask,
  code: IconCode,
  comment: IconMessage,
};

export function TypeIcon({ type, size = 18 }: { type: string | null | undefined; size?: number }) {
  const Shape = ICONS[type ?? ""] ?? IconBox;
  return <Shape size={size} stroke={1.6} aria-hidden style={{ flexShrink: 0 }} />;
}
