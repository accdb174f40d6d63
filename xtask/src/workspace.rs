//! The workspace, as `cargo metadata` describes it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// The workspace and the settings of a run.
#[derive(Debug)]
pub(crate) struct Workplace {
    /// The root of the workspace.
    pub(crate) root: PathBuf,
    /// The target directory of cargo.
    pub(crate) target: PathBuf,
    /// Every package of the dependency graph, all features and platforms together.
    pub(crate) packages: Vec<Package>,
    /// True if `CI=true`. Then a skipped step is a failure.
    pub(crate) ci: bool,
}

/// A package, with the fields that the steps need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    /// The name.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: String,
    /// The SPDX expression, if the manifest has one.
    pub(crate) license: Option<String>,
    /// The features in alphabetical order.
    pub(crate) features: Vec<String>,
    /// True for a member of the workspace.
    pub(crate) member: bool,
    /// True if the manifest does not say `publish = false`.
    pub(crate) published: bool,
    /// The folder of its manifest.
    pub(crate) folder: PathBuf,
}

impl Workplace {
    /// Asks cargo for the workspace that this program was built from.
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
                // `null` allows every registry, an empty list allows none.
                published: package["publish"]
                    .as_array()
                    .is_none_or(|registries| !registries.is_empty()),
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

    /// The folder with the output of the steps.
    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("test-output")
    }

    /// The folder with the tools that this project installs.
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

/// The cargo that runs this program, so that a toolchain from the command line stays in use.
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
                 "publish": [], "manifest_path": "/here/a/Cargo.toml"},
                {"id": "b 2", "name": "b", "version": "2.0.0", "license": null, "features": {},
                 "publish": null, "manifest_path": "/else/b/Cargo.toml"},
            ],
        });
        let workplace = Workplace::read(&metadata, false).expect("complete");
        assert_eq!(workplace.logs(), Path::new("/there/test-output"));
        let members: Vec<_> = workplace.members().collect();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].features, ["default", "tls"]);
        assert_eq!(workplace.packages[1].license, None);
        assert_eq!(members[0].folder, Path::new("/here/a"));
        assert!(!members[0].published);
        assert!(workplace.packages[1].published);
        assert!(Workplace::read(&serde_json::json!({"packages": []}), false).is_none());
    }

    #[test]
    fn this_workspace_is_found() {
        let workplace = Workplace::find().expect("cargo runs this test");
        assert!(workplace.members().any(|package| package.name == "xtask"));
        assert!(workplace.root.join("xtask").is_dir());
    }
}
