//! A region as a client sees it: its API over HTTP, and its control socket.

use std::path::PathBuf;

use anyhow::{Context, bail};
use http::{HeaderMap, HeaderValue};
use postern_wire::sigv4::{RequestParts, SecretAccessKey, Signer};
use postern_wire::{Timestamp, client};
use serde::Deserialize;
use serde_json::Value;

use crate::control::client::Client;
use crate::control::{Reply, Request};
use crate::credentials::Credentials;
use crate::http_client::Api;
use crate::paths::StateDir;
use crate::region::now_milliseconds;
use crate::said::said;

/// A running region.
pub struct RegionClient {
    api: Api,
    region: String,
    /// Where its own commands are heard; or why they cannot be said from here.
    control: Result<PathBuf, String>,
    /// Who to be; otherwise the root user of the region's first account, whose keys the control socket gives.
    credentials: Option<Credentials>,
}

/// What the API said instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRefusal {
    /// AWS's code.
    pub code: String,
    /// AWS's sentence.
    pub message: String,
}

/// What a region says of itself at `/_postern/region`; where its things are it says on its own machine only.
#[derive(Deserialize)]
struct About {
    region: String,
    run: String,
    control_socket: Option<PathBuf>,
}

impl RegionClient {
    /// The region of a state directory, as the root user of its first account.
    pub fn connect(state_dir: &StateDir) -> anyhow::Result<Self> {
        let variables = environment(&Client::connect(state_dir)?, None)?;
        let api = Api::parse(variable(&variables, "AWS_ENDPOINT_URL")?)?;
        let region = variable(&variables, "AWS_DEFAULT_REGION")?.to_owned();
        Ok(Self { api, region, control: Ok(state_dir.control_socket()), credentials: None })
    }

    /// The region whose API is at this URL: as who the profile of AWS's configuration files says; otherwise as the root
    /// user of its first account, if its control socket can be opened from here; otherwise as the environment says.
    pub fn at(url: &str, profile: Option<&str>) -> anyhow::Result<Self> {
        let api = Api::parse(url)?;
        let about = about(&api)?;
        let control = open_control(&api, &about);
        let credentials = match (profile, &control) {
            (Some(profile), _) => Some(Credentials::of_profile(profile)?),
            (None, Ok(_)) => None,
            (None, Err(why)) => Some(Credentials::of_environment().with_context(|| {
                format!(
                    "there are no credentials for `{api}`: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use \
                     --profile; the region's own cannot be had, for {why}"
                )
            })?),
        };
        Ok(Self { api, region: about.region, control, credentials })
    }

    /// The region's name.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Why there is no control socket; none if there is one.
    pub fn without_control(&self) -> Option<&str> {
        self.control.as_ref().err().map(String::as_str)
    }

    /// A new connection to the control socket.
    pub fn control(&self) -> anyhow::Result<Client> {
        match &self.control {
            Ok(socket) => Client::connect_to(socket)
                .with_context(|| format!("the region's control socket `{}`", socket.display())),
            Err(why) => bail!("{why}"),
        }
    }

    /// What points programs at it, as the root user of an account, or as who this client is. The keys are those of now:
    /// after a reset there are others.
    pub fn environment(&self, account: Option<&str>) -> anyhow::Result<Vec<(String, String)>> {
        let mut variables = match (&self.credentials, account) {
            (Some(credentials), None) => {
                let mut variables = credentials.variables();
                for name in ["AWS_DEFAULT_REGION", "AWS_REGION"] {
                    variables.push((name.to_owned(), self.region.clone()));
                }
                variables
                    .extend(self.api.ca_bundle().map(|path| ("AWS_CA_BUNDLE".to_owned(), path.to_owned())));
                variables
            }
            (Some(_) | None, _) => environment(&self.control()?, account)?,
        };
        // As the caller names it, which may be another name of the same.
        variables.retain(|(name, _)| name != "AWS_ENDPOINT_URL");
        variables.push(("AWS_ENDPOINT_URL".to_owned(), self.api.to_string()));
        Ok(variables)
    }

    /// Calls an operation of a query service, as the root user of an account, or as who this client is.
    pub fn call(
        &self,
        account: Option<&str>,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> anyhow::Result<Result<Value, ApiRefusal>> {
        let tables = postern_wire::SERVICES.iter().find(|known| known.name == service);
        let tables = tables.with_context(|| format!("`{service}` is not a query service of Postern's"))?;
        let form = client::encode(tables, operation, parameters)?;
        let (status, body) = self.post(&self.environment(account)?, service, &form.to_body())?;
        if status == 200 {
            return Ok(Ok(client::decode(tables, operation, &body)?));
        }
        let (code, message, _) = client::decode_error(&body)
            .with_context(|| format!("status {status} without an error: {body}"))?;
        Ok(Err(ApiRefusal { code, message }))
    }

    fn post(
        &self,
        variables: &[(String, String)],
        service: &str,
        body: &str,
    ) -> anyhow::Result<(u16, String)> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(self.api.host())?);
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        );
        let secret = SecretAccessKey::new(variable(variables, "AWS_SECRET_ACCESS_KEY")?);
        let signer = Signer {
            access_key_id: variable(variables, "AWS_ACCESS_KEY_ID")?,
            secret: &secret,
            session_token: variable(variables, "AWS_SESSION_TOKEN").ok(),
            region: &self.region,
            service,
        };
        let parts = RequestParts { method: "POST", path: "/", query: "", headers: &headers };
        let now = i64::try_from(now_milliseconds()).unwrap_or(i64::MAX);
        let signed = signer.sign(&parts, &Signer::hash(body.as_bytes()), Timestamp::from_millis(now))?;
        headers.extend(signed.headers);
        self.api.exchange("POST", "/", &headers, body)
    }
}

fn variable<'a>(variables: &'a [(String, String)], name: &str) -> anyhow::Result<&'a str> {
    let found = variables.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str()).with_context(|| format!("the region gives no {name}"))
}

fn environment(control: &Client, account: Option<&str>) -> anyhow::Result<Vec<(String, String)>> {
    match control.ask(&Request::Environment { account: account.map(str::to_owned) }, &[])? {
        Reply::Environment(variables) => Ok(variables),
        other => bail!("the region gave an answer to another question: {other:?}"),
    }
}

/// What the region at a URL says of itself.
fn about(api: &Api) -> anyhow::Result<About> {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_str(api.host())?);
    let (status, body) = api
        .exchange("GET", "/_postern/region", &headers, "")
        .with_context(|| format!("no region answers at `{api}`"))?;
    if status != 200 {
        bail!("at `{api}` is no region of this version of Postern: `/_postern/region` gives status {status}");
    }
    serde_json::from_str(&body)
        .with_context(|| format!("at `{api}` is no region of this version of Postern: it said `{body}`"))
}

/// The control socket of the region at a URL, if it can be opened from here; the file's permissions say who may.
fn open_control(api: &Api, about: &About) -> Result<PathBuf, String> {
    let Some(socket) = &about.control_socket else {
        return Err(format!("`{api}` says only to programs on its own machine where its control socket is"));
    };
    let path = socket.display();
    let client = Client::connect_to(socket).map_err(|error| {
        format!("the region's control socket `{path}` cannot be opened from here: {error}")
    })?;
    match client.ask(&Request::Status, &[]) {
        Ok(Reply::Status(status)) if status.run == about.run => Ok(socket.clone()),
        Ok(Reply::Status(_)) => Err(format!(
            "the control socket `{path}` of this machine belongs to another region than the one at `{api}`"
        )),
        Ok(_) => Err(format!("the control socket `{path}` gave an answer to another question")),
        Err(error) => Err(format!("the region's control socket `{path}` does not answer: {}", said(&error))),
    }
}
