//! What there is to work on, as `cargo metadata` tells it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// The workspace and the circumstances the steps run in.
#[derive(Debug)]
pub(crate) struct Workplace {
    /// The root of the workspace.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever `CARGO_TARGET_DIR` put it.
    pub(crate) target: PathBuf,
    /// Every package of the dependency graph, all features and platforms together.
    pub(crate) packages: Vec<Package>,
    /// True where `CI=true`: what cannot run is a failure.
    pub(crate) ci: bool,
}

/// A package as far as the steps care.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its SPDX expression, if it gives one.
    pub(crate) license: Option<String>,
    /// Its features, in alphabetical order.
    pub(crate) features: Vec<String>,
    /// True for a member of this workspace.
    pub(crate) member: bool,
    /// True if it may go to a registry: its manifest does not say `publish = false`.
    pub(crate) published: bool,
    /// True if it has a library.
    pub(crate) library: bool,
    /// The folder of its manifest.
    pub(crate) folder: PathBuf,
}

impl Workplace {
    /// Asks cargo about the workspace that this program was built from.
    pub(crate) fn find() -> Result<Self, String> {
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1", "--all-features"])
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml"))
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cargo metadata does not start: {error}"))?;
        if !output.status.success() {
            return Err("cargo metadata failed; its message stands above".to_owned());
        }
        let metadata = serde_json::from_slice(&output.stdout).map_err(|error| {
            format!("cargo metadata answered something else than JSON: {error}")
        })?;
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        Self::read(&metadata, ci).ok_or_else(|| {
            "cargo metadata answered without what every version of it tells".to_owned()
        })
    }

    fn read(metadata: &Value, ci: bool) -> Option<Self> {
        let members: Vec<&str> = metadata["workspace_members"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let packages = metadata["packages"].as_array()?.iter().map(|package| {
            let mut features: Vec<String> =
                package["features"].as_object()?.keys().cloned().collect();
            features.sort();
            Some(Package {
                name: package["name"].as_str()?.to_owned(),
                version: package["version"].as_str()?.to_owned(),
                license: package["license"].as_str().map(str::to_owned),
                features,
                member: members.contains(&package["id"].as_str()?),
                // `null` is every registry, an empty list none.
                published: package["publish"]
                    .as_array()
                    .is_none_or(|registries| !registries.is_empty()),
                library: package["targets"].as_array()?.iter().any(|target| {
                    target["kind"]
                        .as_array()
                        .is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"))
                }),
                folder: Path::new(package["manifest_path"].as_str()?)
                    .parent()?
                    .to_owned(),
            })
        });
        Some(Self {
            root: metadata["workspace_root"].as_str()?.into(),
            target: metadata["target_directory"].as_str()?.into(),
            packages: packages.collect::<Option<_>>()?,
            ci,
        })
    }

    /// Where the output of the steps is kept.
    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("test-output")
    }

    /// Where tools that this project installs for itself live.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The members of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.member)
    }

    /// A cargo command at the root of the workspace.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(cargo());
        command
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
    }

    /// Any other program at the root of the workspace.
    pub(crate) fn program<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
    }
}

/// The cargo that runs us, so that a toolchain chosen on the command line stays chosen.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read() {
        let metadata = serde_json::json!({
            "workspace_root": "/here", "target_directory": "/there", "workspace_members": ["a 1"],
            "packages": [
                {"id": "a 1", "name": "a", "version": "1.0.0", "license": "MIT", "features": {"tls": [], "default": []},
                 "publish": [], "targets": [{"kind": ["lib"]}], "manifest_path": "/here/a/Cargo.toml"},
                {"id": "b 2", "name": "b", "version": "2.0.0", "license": null, "features": {},
                 "publish": null, "targets": [{"kind": ["bin"]}], "manifest_path": "/else/b/Cargo.toml"},
            ],
        });
        let workplace = Workplace::read(&metadata, false).expect("complete");
        assert_eq!(workplace.logs(), Path::new("/there/test-output"));
        let members: Vec<_> = workplace.members().collect();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].features, ["default", "tls"]);
        assert_eq!(workplace.packages[1].license, None);
        assert_eq!(members[0].folder, Path::new("/here/a"));
        assert!(members[0].library && !members[0].published);
        assert!(!workplace.packages[1].library && workplace.packages[1].published);
        assert!(Workplace::read(&serde_json::json!({"packages": []}), false).is_none());
    }

    #[test]
    fn this_workspace_is_found() {
        let workplace = Workplace::find().expect("cargo runs this test");
        assert!(workplace.members().any(|package| package.name == "xtask"));
        assert!(workplace.root.join("xtask").is_dir());
    }
}
