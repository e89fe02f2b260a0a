import {
  ActionIcon,
  Button,
  Checkbox,
  Fieldset,
  Group,
  NativeSelect,
  Stack,
  Text,
  Textarea,
  TextInput,
} from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { type Draft, draftOf, type Field, type FieldKind, pointerTo } from "./fields";

const INPUT_TYPES: Partial<Record<FieldKind, string>> = {
  email: "email",
  date: "date",
  dateTime: "datetime-local",
  time: "time",
};

interface FieldProps {
  field: Field;
  draft: Draft;
  onChange: (draft: Draft) => void;
  /** The pointer of the field in the request. */
  pointer: string;
  /** The problems of the fields, by their pointers. */
  problems: ReadonlyMap<string, string>;
}

/** The inputs of a form. Those of its fields are labelled, described, and show their problems. */
export function SchemaForm({ field, ...props }: FieldProps) {
  return (
    <Stack gap="sm">
      <Problem text={props.problems.get(props.pointer)} />
      <Fields field={field} {...props} />
    </Stack>
  );
}

function Fields({ field, draft, onChange, pointer, problems }: FieldProps) {
  const drafts = (draft ?? {}) as Record<string, Draft>;
  return field.fields.map((each) => (
    <FieldInput
      key={each.name}
      field={each}
      draft={drafts[each.name]}
      onChange={(next) => onChange({ ...drafts, [each.name]: next })}
      pointer={pointerTo(pointer, each.name)}
      problems={problems}
    />
  ));
}

/** The input of one field. */
export function FieldInput(props: FieldProps) {
  const { t } = useTranslation();
  const { field, draft, onChange, pointer, problems } = props;
  const shared = {
    size: "xs",
    label: field.title,
    description: field.description || undefined,
    error: problems.get(pointer),
    required: field.isRequired,
  };
  const text = typeof draft === "string" ? draft : "";
  const input = {
    ...shared,
    value: text,
    onChange: (event: { currentTarget: { value: string } }) => onChange(event.currentTarget.value),
  };
  switch (field.kind) {
    case "object":
      return (
        <Section field={field} problem={problems.get(pointer)}>
          <Fields {...props} />
        </Section>
      );
    case "list":
      return <ListInput {...props} />;
    case "choices":
      return (
        <Checkbox.Group
          {...shared}
          value={Array.isArray(draft) ? draft.map(String) : []}
          onChange={(chosen) => onChange(chosen)}
        >
          <Stack gap={6} mt={6}>
            {field.options.map(({ label }, index) => (
              <Checkbox key={label} size="xs" label={label} value={String(index)} />
            ))}
          </Stack>
        </Checkbox.Group>
      );
    case "select":
      return (
        <NativeSelect
          {...input}
          data={[
            { value: "", label: field.isRequired ? t("Choose…") : "–" },
            ...field.options.map(({ label }, index) => ({ value: String(index), label })),
          ]}
        />
      );
    case "checkbox": {
      const { required: _required, ...rest } = shared;
      return (
        <Checkbox
          {...rest}
          checked={draft === true}
          onChange={(event) => onChange(event.currentTarget.checked)}
        />
      );
    }
    case "constant":
      return <TextInput {...shared} required={false} readOnly value={text} variant="filled" />;
    case "textarea":
      return <Textarea {...input} autosize minRows={3} maxRows={12} />;
    case "json":
      return (
        <Textarea
          {...input}
          autosize
          minRows={2}
          maxRows={12}
          spellCheck={false}
          classNames={{ input: "code-input" }}
          placeholder="JSON"
        />
      );
    default:
      return (
        <TextInput
          {...input}
          type={INPUT_TYPES[field.kind] ?? "text"}
          inputMode={field.kind === "number" ? "decimal" : undefined}
          step={field.kind === "time" ? 1 : undefined}
          autoComplete="off"
        />
      );
  }
}

function ListInput({ field, draft, onChange, pointer, problems }: FieldProps) {
  const { t } = useTranslation();
  const items = Array.isArray(draft) ? draft : [];
  const item = field.item as Field;
  return (
    <Section field={field} problem={problems.get(pointer)}>
      {items.map((each, index) => {
        const number = index + 1;
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: the items have no other identity
          <Group key={index} gap={6} align="flex-end" wrap="nowrap">
            <div className="list-item">
              <FieldInput
                field={{ ...item, title: item.title || `${number}` }}
                draft={each}
                onChange={(next) => onChange(items.map((old, at) => (at === index ? next : old)))}
                pointer={pointerTo(pointer, index)}
                problems={problems}
              />
            </div>
            <ActionIcon
              variant="subtle"
              color="gray"
              aria-label={t("Remove item {{number}}", { number })}
              onClick={() => onChange(items.filter((_, at) => at !== index))}
            >
              <IconTrash size={14} />
            </ActionIcon>
          </Group>
        );
      })}
      <Group>
        <Button
          variant="default"
          leftSection={<IconPlus size={14} />}
          onClick={() => onChange([...items, draftOf(item)])}
        >
          {t("Add an item")}
        </Button>
      </Group>
    </Section>
  );
}

function Section({
  field,
  problem,
  children,
}: {
  field: Field;
  problem: string | undefined;
  children: React.ReactNode;
}) {
  return (
    <Fieldset legend={`${field.title}${field.isRequired ? " *" : ""}`} className="field-group">
      <Stack gap="xs">
        {field.description && (
          <Text size="xs" c="dimmed">
            {field.description}
          </Text>
        )}
        <Problem text={problem} />
        {children}
      </Stack>
    </Fieldset>
  );
}

function Problem({ text }: { text: string | undefined }) {
  return text === undefined ? null : (
    <Text size="xs" c="var(--mantine-color-error)" role="alert">
      {text}
    </Text>
  );
}
