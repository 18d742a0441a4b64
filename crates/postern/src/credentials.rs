//! Who to be towards an API, as AWS's own programs are told: by the environment, or by a profile of their
//! configuration files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// An access key with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // INVARIANT: a secret never reaches a log.
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of the environment: the key itself, else the profile that it names.
    pub fn of_environment() -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"), variable("AWS_PROFILE")) {
            (Some(access_key_id), Some(secret_access_key), _) => {
                let session_token = variable("AWS_SESSION_TOKEN");
                Ok(Self { access_key_id, secret_access_key, session_token })
            }
            (None, None, Some(profile)) => Self::of_profile(&profile),
            (None, None, None) => bail!("the environment has no AWS_ACCESS_KEY_ID"),
            (Some(_), None, _) => {
                bail!("the environment has an AWS_ACCESS_KEY_ID and no AWS_SECRET_ACCESS_KEY")
            }
            (None, Some(_), _) => {
                bail!("the environment has an AWS_SECRET_ACCESS_KEY and no AWS_ACCESS_KEY_ID")
            }
        }
    }

    /// Those of a profile. The credentials file goes before the configuration file.
    /// <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html>
    pub fn of_profile(profile: &str) -> anyhow::Result<Self> {
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
        let config = file("AWS_CONFIG_FILE", "config")?;
        let in_config = if profile == "default" { profile.to_owned() } else { format!("profile {profile}") };
        let sections = [section(&credentials, profile)?, section(&config, &in_config)?];
        if sections.iter().all(Option::is_none) {
            bail!("there is no profile `{profile}` in `{}` or `{}`", credentials.display(), config.display());
        }
        let setting = |name: &str| {
            let mut settings = sections.iter().flatten().flatten();
            settings.find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let key = |name: &str| {
            let what = "Postern takes access keys, and no roles, SSO or credential processes";
            setting(name).with_context(|| format!("the profile `{profile}` has no {name}: {what}"))
        };
        Ok(Self {
            access_key_id: key("aws_access_key_id")?,
            secret_access_key: key("aws_secret_access_key")?,
            session_token: setting("aws_session_token"),
        })
    }

    /// The variables that tell programs.
    pub fn variables(&self) -> Vec<(String, String)> {
        let token = self.session_token.as_ref().map(|token| ("AWS_SESSION_TOKEN", token));
        [("AWS_ACCESS_KEY_ID", &self.access_key_id), ("AWS_SECRET_ACCESS_KEY", &self.secret_access_key)]
            .into_iter()
            .chain(token)
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    }
}

/// One of AWS's files: where its variable says, or in the home.
fn file(variable: &str, name: &str) -> anyhow::Result<PathBuf> {
    if let Some(told) = std::env::var_os(variable).filter(|told| !told.is_empty()) {
        return Ok(PathBuf::from(told));
    }
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    Ok(Path::new(&home).join(".aws").join(name))
}

/// The settings of a section of a file; none if there is no such section, or no file.
fn section(path: &Path, name: &str) -> anyhow::Result<Option<Vec<(String, String)>>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(settings(&text, name)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

fn settings(text: &str, name: &str) -> Option<Vec<(String, String)>> {
    let mut found: Option<Vec<(String, String)>> = None;
    let mut inside = false;
    for line in text.lines() {
        let plain = line.trim();
        if let Some(title) = plain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            inside = title.0.split_whitespace().eq(name.split_whitespace());
            if inside {
                found.get_or_insert_default();
            }
        } else if inside
            // What is set in is a setting of the setting above.
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((key, value)) = plain.split_once('=')
        {
            found.get_or_insert_default().push((key.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_its_own_settings_only() {
        let text = "# aws_access_key_id = NOT\n[default]\naws_access_key_id = A\n\n[profile  two]\n\
                    AWS_ACCESS_KEY_ID=B=\n# aws_secret_access_key = NOT\ns3 =\n  aws_secret_access_key = NOT\n[three]\n";
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings(text, "default"), Some(vec![setting("aws_access_key_id", "A")]));
        let two = vec![setting("aws_access_key_id", "B="), setting("s3", "")];
        assert_eq!(settings(text, "profile two"), Some(two));
        assert_eq!(settings(text, "three"), Some(Vec::new()));
        assert_eq!(settings(text, "two"), None);
    }

    #[test]
    fn a_secret_is_not_printed() {
        let credentials = Credentials {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "swordfish".to_owned(),
            session_token: Some("swordfish".to_owned()),
        };
        assert!(!format!("{credentials:?}").contains("swordfish"));
        assert_eq!(credentials.variables().len(), 3);
    }
}
