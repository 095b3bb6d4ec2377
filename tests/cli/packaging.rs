//! The files of `scripts/packaging/` for sensors on many hosts: that they can be parsed, fit together, and start the program
//! with arguments that it has.

use std::process::Command;

use serde_json::Value;

use crate::support::{TestDir, beamscope, skip};

/// The documents of a YAML file; `None` where nothing parses YAML.
fn yaml(name: &str) -> Option<Value> {
    const TO_JSON: &str =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let path = format!("{}/scripts/packaging/{name}", env!("CARGO_MANIFEST_DIR"));
    let run = Command::new("python3").args(["-c", TO_JSON, &path]).output();
    let reason = match run {
        Err(error) => format!("python3: {error}"),
        Ok(run) if run.status.success() => {
            return Some(serde_json::from_slice(&run.stdout).unwrap());
        }
        Ok(run) => String::from_utf8(run.stderr).unwrap(),
    };
    assert!(!reason.contains("yaml."), "{name}: {reason}");
    skip("yaml", &reason);
    None
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_daemon_set_runs_the_program_with_little_and_bounded() {
    let Some(documents) = yaml("beamscope-daemonset.yaml") else { return };
    let [document] = documents.as_array().unwrap().as_slice() else { panic!("{documents}") };
    assert_eq!(document["kind"], "DaemonSet");
    let labels = &document["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&document["spec"]["selector"]["matchLabels"], labels);
    let pod = &document["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["hostNetwork"], &pod["automountServiceAccountToken"]),
        (&true.into(), &false.into())
    );
    let containers = pod["containers"].as_array().unwrap();
    let volume = |name: &Value| {
        let all = pod["volumes"].as_array().unwrap();
        all.iter().find(|it| it["name"] == *name).unwrap_or_else(|| panic!("no volume {name}"))
    };
    for container in containers {
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
        let limits = &container["resources"]["limits"];
        assert!(limits["memory"].is_string() && limits["cpu"].is_string(), "{limits}");
        for mount in container["volumeMounts"].as_array().unwrap() {
            let volume = volume(&mount["name"]);
            let is_bounded = volume["emptyDir"]["sizeLimit"].is_string();
            assert!(is_bounded || mount["readOnly"] == true, "{volume}");
        }
    }
    let sensor = &containers[0];
    assert_eq!(strings(&sensor["securityContext"]["capabilities"]["add"]), ["NET_RAW"]);
    let environment = sensor["env"].as_array().unwrap();
    let node = environment.iter().find(|it| it["name"] == "NODE_NAME").unwrap();
    assert_eq!(node["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
    let arguments = strings(&sensor["args"]);
    assert!(arguments.starts_with(&["-i".to_owned(), "any".to_owned()]), "{arguments:?}");
    // The program takes them all; what fails is the interface, which is not there.
    let dir = TestDir::new("packaging");
    let place = strings(&sensor["livenessProbe"]["exec"]["command"]).concat();
    assert!(place.contains("/var/lib/beamscope/events.ndjson"), "{place}");
    let arguments: Vec<_> = arguments
        .iter()
        .map(|it| it.replace("/var/lib/beamscope", dir.path()).replace("$(NODE_NAME)", "node-7"))
        .map(|it| if it == "any" { "beamscope-none".to_owned() } else { it })
        .collect();
    assert_ne!(strings(&sensor["args"]), arguments);
    let run =
        beamscope(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap();
    let message = String::from_utf8(run.stderr).unwrap();
    let is_accepted = message.contains(if cfg!(feature = "live") {
        "cannot capture from beamscope-none"
    } else {
        "this build of beamscope cannot capture"
    });
    assert!(run.status.code() == Some(2) && is_accepted, "{message}");
}

#[test]
fn vector_reads_the_file_that_the_daemon_set_writes() {
    let (Some(documents), Some(daemon_set)) =
        (yaml("beamscope-vector.yaml"), yaml("beamscope-daemonset.yaml"))
    else {
        return;
    };
    let config = &documents[0];
    let pod = &daemon_set[0]["spec"]["template"]["spec"];
    let sensor = &pod["containers"][0];
    let arguments = strings(&sensor["args"]);
    let written = arguments.iter().skip_while(|it| *it != "-o").nth(1).unwrap();
    assert_eq!(strings(&config["sources"]["beamscope"]["include"]), std::slice::from_ref(written));
    // Each step takes what another one gives.
    let named = |part: &str| config[part].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let given = [named("sources"), named("transforms")].concat();
    for part in ["transforms", "sinks"] {
        for (name, step) in config[part].as_object().unwrap() {
            let inputs = strings(&step["inputs"]);
            assert!(inputs.iter().all(|input| given.contains(input)), "{name}: {inputs:?}");
        }
    }
    // Its files are where the pod has a volume.
    let mounts = pod["containers"][1]["volumeMounts"].as_array().unwrap();
    let is_mounted =
        |path: &str| mounts.iter().any(|it| path.starts_with(it["mountPath"].as_str().unwrap()));
    assert!(is_mounted(config["data_dir"].as_str().unwrap()) && is_mounted(written));
    // The types of events that it lets through are those of the program.
    let condition = config["transforms"]["problems"]["condition"].as_str().unwrap();
    let list = &condition[condition.find('[').unwrap()..=condition.find(']').unwrap()];
    let schema = beamscope(&["schema"]).output().unwrap().stdout;
    let schema = String::from_utf8(schema).unwrap();
    for kind in strings(&serde_json::from_str(list).unwrap()) {
        assert!(schema.contains(&format!("\"const\": \"{kind}\"")), "{kind}");
    }
}
