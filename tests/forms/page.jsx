// Every node type of a running service as a form: GET /api/node-types, drawn by
// react-jsonschema-form. `npm start` serves it; ?service=http://localhost:8000 names the service.
import Form from "@rjsf/core";
import validator from "@rjsf/validator-ajv8";
import { useState } from "react";
import { createRoot } from "react-dom/client";

function NodeType({ nodeType }) {
  const [config, setConfig] = useState(undefined);
  const [sent, setSent] = useState(null);
  const { type, title, category, inputs, outputs, schema, uiSchema } = nodeType;
  return (
    <section data-type={type}>
      <h2>{title}</h2>
      <p className="ports">
        {category}: {inputs.join(", ") || "–"} → {outputs.join(", ")}
      </p>
      <Form
        idPrefix={type}
        schema={schema}
        uiSchema={uiSchema}
        validator={validator}
        formData={config}
        noHtml5Validate
        onChange={({ formData }) => setConfig(formData)}
        onSubmit={({ formData }) => setSent(formData)}
      />
      <pre className="config">{sent && JSON.stringify(sent)}</pre>
    </section>
  );
}

const service = new URLSearchParams(location.search).get("service") ?? "http://localhost:8000";
const answer = await fetch(`${service}/api/node-types`);
const catalogue = await answer.json();
createRoot(document.getElementById("forms")).render(
  catalogue.map((nodeType) => <NodeType key={nodeType.type} nodeType={nodeType} />),
);
