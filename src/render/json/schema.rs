//! The JSON Schema of a line.
//!
//! In: the types that are written. Out: a schema that accepts what they write and nothing else: no
//! misspelt field, no `null` for a field that would be absent, no body of another event type.

use schemars::generate::SchemaSettings;
use schemars::{Schema, transform};
use serde_json::{Map, Value, json};

use super::message::MessageSchema;
use super::ndjson::Line;

/// JSON Schema (draft 2020-12) of one line of [NDJSON](super::super::Format::Ndjson), ending in a newline.
pub fn schema() -> String {
    format!("{:#}\n", value())
}

fn value() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let message = generator.subschema_for::<MessageSchema>();
    let mut schema = generator.into_root_schema_for::<Line<'_>>();
    // Messages are borrowed and therefore no variant of `Body`: their schema is added here.
    let bodies = schema.get_mut("anyOf").and_then(Value::as_array_mut);
    bodies.into_iter().for_each(|bodies| {
        bodies.push(json!({
            "type": "object",
            "properties": { "message": message },
            "required": ["message"],
        }));
    });
    absent_is_not_null(&mut schema);
    tie_body_to_type(&mut schema);
    // The fields of a line are in several subschemas, and `additionalProperties` considers each alone.
    schema.insert("unevaluatedProperties".into(), false.into());
    schema.to_value()
}

/// An `Option` that is left out when it is `None` derives as one that may also be `null`.
fn absent_is_not_null(schema: &mut Schema) {
    transform::transform_subschemas(&mut absent_is_not_null, schema);
    let Some(object) = schema.as_object_mut() else { return };
    let required = object.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| {
        required.as_array().is_some_and(|names| names.iter().any(|required| required == name))
    };
    let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
    for (name, property) in properties {
        if let (false, Value::Object(property)) = (is_required(name), property) {
            drop_null(property);
        }
    }
}

fn drop_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            property.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({ "type": "null" }));
    }
}

/// Gives each body the only `event_type` that it goes with.
fn tie_body_to_type(schema: &mut Schema) {
    let bodies = schema.get_mut("anyOf").and_then(Value::as_array_mut);
    for body in bodies.into_iter().flatten() {
        let Some(Value::Object(properties)) = body.get_mut("properties") else { continue };
        if let Some(name) = properties.keys().next().cloned() {
            properties.insert("event_type".into(), json!({ "const": name }));
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonschema::Validator;

    use super::super::ndjson;
    use super::*;
    use crate::record::Body;
    use crate::render::samples;

    fn validator() -> Validator {
        jsonschema::validator_for(&value()).unwrap()
    }

    fn lines() -> Vec<Value> {
        let line = |event| {
            let mut line = Vec::new();
            ndjson::write(&mut line, 1, Some("a.pcap"), &event).unwrap();
            serde_json::from_slice(&line).unwrap()
        };
        samples::all().into_iter().map(line).collect()
    }

    /// Every object in `value`, changed one at a time.
    fn changed(value: &Value, change: &dyn Fn(&mut Map<String, Value>)) -> Vec<Value> {
        let mut all = Vec::new();
        if let Value::Object(fields) = value {
            let mut own = fields.clone();
            change(&mut own);
            all.push(own.into());
            for (name, field) in fields {
                for inner in changed(field, change) {
                    let mut outer = fields.clone();
                    outer.insert(name.clone(), inner);
                    all.push(outer.into());
                }
            }
        }
        if let Value::Array(items) = value {
            for (n, item) in items.iter().enumerate() {
                for inner in changed(item, change) {
                    let mut outer = items.clone();
                    outer[n] = inner;
                    all.push(outer.into());
                }
            }
        }
        all
    }

    #[test]
    fn what_is_written_is_valid() {
        let validator = validator();
        for line in lines() {
            if let Err(error) = validator.validate(&line) {
                panic!("{error} at {}: {line}", error.instance_path());
            }
        }
    }

    #[test]
    fn a_misspelt_field_is_refused_wherever_it_is() {
        let validator = validator();
        for line in lines() {
            for wrong in changed(&line, &|fields| drop(fields.insert("sesion".into(), json!("x"))))
            {
                assert!(!validator.is_valid(&wrong), "{wrong}");
            }
        }
    }

    #[test]
    fn null_is_refused_for_an_absent_field() {
        let validator = validator();
        let mut line = lines().remove(0);
        for field in ["creation", "reply", "lifetime_us"] {
            line["epmd"][field] = Value::Null;
            assert!(!validator.is_valid(&line), "{line}");
            line["epmd"].as_object_mut().unwrap().remove(field);
        }
        line["epmd"]["request"] = Value::Null;
        assert!(validator.is_valid(&line), "looked for and not seen");
        line["epmd"].as_object_mut().unwrap().remove("request");
        assert!(!validator.is_valid(&line), "a field that is always there");
    }

    #[test]
    fn a_body_goes_with_its_own_event_type_only() {
        let validator = validator();
        let lines = lines();
        for line in &lines {
            let own = line["event_type"].as_str().unwrap();
            for other in &lines {
                let other = other["event_type"].as_str().unwrap();
                let mut wrong = line.clone();
                wrong["event_type"] = other.into();
                assert_eq!(validator.is_valid(&wrong), own == other, "{own} as {other}");
            }
            let mut both = line.clone();
            both[if own == "stats" { "epmd" } else { "stats" }] = json!({});
            assert!(!validator.is_valid(&both), "{own} with a second body");
        }
    }

    #[test]
    fn every_event_type_is_the_key_of_its_body() {
        for event in samples::all() {
            let body = serde_json::to_value::<&Body>(&event.body).unwrap();
            assert!(body.get(event.body.event_type()).is_some());
        }
    }
}
