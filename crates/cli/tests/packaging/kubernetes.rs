//! The Kubernetes manifest of the sidecar.

use std::process::Command;

use serde_json::Value;

use crate::{file, tools};

const MANIFEST: &str = "kubernetes/sidecar.yaml";

/// Returns the documents of the manifest. Returns `None` if Python has no YAML parser.
pub(crate) fn documents() -> Option<Vec<Value>> {
    let python = tools::python_with("yaml");
    if tools::missing(
        "Python with `yaml` (Debian: python3-yaml)",
        python.is_some(),
    ) {
        return None;
    }
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = Command::new(python?)
        .args(["-c", script])
        .arg(file(MANIFEST))
        .output();
    let output = output.expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("a list")
}

/// Every container meets Kubernetes' profile `restricted`, and the sidecar is a native one.
#[test]
fn the_pod_is_restricted_and_the_sidecar_is_native() {
    let Some(documents) = documents() else { return };
    let kinds: Vec<_> = documents.iter().map(|document| &document["kind"]).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment"]);
    let deployment = &documents[1]["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    assert_eq!(&deployment["selector"]["matchLabels"], labels);
    let pod = &deployment["template"]["spec"];
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let (sidecars, containers) = (list(&pod["initContainers"]), list(&pod["containers"]));
    assert_eq!((sidecars.len(), containers.len()), (1, 1));
    for container in sidecars.iter().chain(&containers) {
        let security = &container["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{container}");
        assert!(security["runAsUser"].as_u64() > Some(0), "{container}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{container}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{container}");
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        // No secret is in the manifest, nor in an environment that other users can read.
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().expect("a name");
            assert!(
                !name.contains("SECRET") && !name.contains("TOKEN"),
                "{name}"
            );
        }
    }
    let sidecar = &sidecars[0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let command = list(&sidecar[probe]["exec"]["command"]);
        assert_eq!(command[0], "curl", "{probe}");
        let url = command.last().and_then(Value::as_str).expect("a URL");
        assert!(url.starts_with("http://127.0.0.1:9901/"), "{probe}: {url}");
    }
    // Every volume is mounted, and every mount has a volume.
    let names = |value: &Value| -> Vec<Value> {
        list(value)
            .iter()
            .map(|entry| entry["name"].clone())
            .collect()
    };
    let mut mounted = names(&sidecar["volumeMounts"]);
    let mut volumes = names(&pod["volumes"]);
    mounted.sort_by_key(Value::to_string);
    volumes.sort_by_key(Value::to_string);
    assert_eq!(mounted, volumes);
    let map = &documents[0];
    assert_eq!(
        pod["volumes"][0]["configMap"]["name"],
        map["metadata"]["name"]
    );
}

/// Validates the manifest, if Python has the published schema (`kubernetes-validate`).
#[test]
fn the_manifest_matches_the_schema_of_kubernetes() {
    let Some(python) = tools::python_with("yaml, kubernetes_validate") else {
        println!("skipped: Python has no `kubernetes_validate`");
        return;
    };
    let script = "import sys, yaml, kubernetes_validate as schema\n\
                  for document in yaml.safe_load_all(open(sys.argv[1])):\n    \
                  schema.validate(document, '1.31', strict=True)\n";
    let output = Command::new(python)
        .args(["-c", script])
        .arg(file(MANIFEST))
        .output();
    let output = output.expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
