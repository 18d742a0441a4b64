//! Key pairs. The private half of a key that is made here is in the answer and nowhere else.

use std::sync::Arc;

use postern_model::Action;
use postern_model::instance::{KeyPair, NewKeyPair, find_key_pair};
use postern_wire::{AwsError, Sensitive, ec2};

use super::ask::{Asked, By};
use super::call::Call;
use super::filters::{self, FilterTable, Row, text};
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS};
use super::ssh::{self, KeyError, KeyKind};
use super::table::{Entry, operation};
use super::view::{created, some, tags, timestamp};
use super::{error, tag};

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateKeyPair = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["KeyName", "KeyType"]],
        only: &[("KeyFormat", &["pem"])],
        asked: &[Asked::Named(By::KeyName, "KeyName")],
    },
    operation! { write ImportKeyPair = import;
        honoured: &[DRY_RUN, NEW_TAGS, &["KeyName", "PublicKeyMaterial"]],
        asked: &[Asked::Named(By::KeyName, "KeyName")],
    },
    operation! { write DeleteKeyPair = delete;
        honoured: &[DRY_RUN, &["KeyName", "KeyPairId"]],
        asked: &[Asked::Named(By::KeyName, "KeyName"), Asked::Named(By::Id, "KeyPairId")],
    },
    operation! { read DescribeKeyPairs = describe; filters: filters::names::<ec2::KeyPairInfo>,
        honoured: &[DRY_RUN, FILTERS, &["IncludePublicKey", "KeyName", "KeyPairId"]],
    },
];

fn show(pair: &KeyPair, public_key: bool) -> ec2::KeyPairInfo {
    ec2::KeyPairInfo {
        create_time: Some(timestamp(pair.created_at)),
        key_fingerprint: some(&pair.fingerprint),
        key_name: some(&pair.name),
        key_pair_id: some(pair.id),
        key_type: some(&pair.key_type),
        public_key: public_key.then(|| pair.public_key.clone()),
        tags: tags(&pair.tags),
    }
}

impl Row for ec2::KeyPairInfo {
    const FILTERS: FilterTable<Self> = &[
        ("fingerprint", |k| text(k.key_fingerprint.as_ref())),
        ("key-name", |k| text(k.key_name.as_ref())),
        ("key-pair-id", |k| text(k.key_pair_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.key_pair_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

/// "Up to 255 ASCII characters".
fn key_name(name: Option<String>) -> Result<String, AwsError> {
    let name = parameters::required(name, "KeyName")?;
    let fits = !name.is_empty() && name.len() <= 255 && name.chars().all(|c| c.is_ascii() && !c.is_control());
    if fits && name.trim() == name {
        Ok(name)
    } else {
        Err(parameters::invalid(
            "keyName",
            name,
            "It has 1 to 255 ASCII characters and no space at its ends.",
        ))
    }
}

fn kind(name: Option<&str>) -> Result<KeyKind, AwsError> {
    match name.unwrap_or("rsa") {
        "rsa" => Ok(KeyKind::Rsa),
        "ed25519" => Ok(KeyKind::Ed25519),
        other => Err(parameters::invalid("keyType", other, "Expected one of: rsa, ed25519.")),
    }
}

async fn create(call: &Call<'_>, request: ec2::CreateKeyPairRequest) -> Result<ec2::KeyPair, AwsError> {
    let [new_tags] = tag::of_new(request.tag_specifications, ["key-pair"])?;
    let name = key_name(request.key_name)?;
    let kind = kind(request.key_type.as_deref())?;
    if find_key_pair(&call.state, call.account, &name).is_ok() {
        return Err(call.refuse(postern_model::ModelError::KeyPairExists(name)));
    }
    // An RSA key takes a while to make, which must not hold up what else this thread serves.
    let of = name.clone();
    let made = tokio::task::spawn_blocking(move || ssh::generate(kind, &of)).await;
    let made = made.map_err(|_| error::internal("the key maker stopped"))?;
    let made = made.map_err(|problem| error::internal(&problem.to_string()))?;
    let action = Action::CreateKeyPair(NewKeyPair {
        name,
        key_type: kind.name().to_owned(),
        public_key: made.public_line,
        fingerprint: made.fingerprint,
        tags: new_tags,
    });
    let done = call.execute(None, action).await?;
    let id = created!(done, KeyPair)?;
    let pair = done.state.get::<KeyPair>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::KeyPair {
        key_fingerprint: some(&pair.fingerprint),
        key_material: Some(Sensitive::new(made.private_pem)),
        key_name: some(&pair.name),
        key_pair_id: some(pair.id),
        tags: tags(&pair.tags),
    })
}

async fn import(
    call: &Call<'_>,
    request: ec2::ImportKeyPairRequest,
) -> Result<ec2::ImportKeyPairResult, AwsError> {
    let [new_tags] = tag::of_new(request.tag_specifications, ["key-pair"])?;
    let name = key_name(request.key_name)?;
    let material = parameters::required(request.public_key_material, "PublicKeyMaterial")?;
    let key = ssh::import(&material.0).map_err(|problem| match problem {
        KeyError::NotAPublicKey => {
            AwsError::new("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
        }
        KeyError::Kind(_) | KeyError::Length(_) | KeyError::NotMade => {
            AwsError::new("InvalidKey.Format", format!("Key is not supported: {problem}"))
        }
    })?;
    let action = Action::CreateKeyPair(NewKeyPair {
        name,
        key_type: key.kind.name().to_owned(),
        public_key: key.public_line,
        fingerprint: key.fingerprint,
        tags: new_tags,
    });
    let done = call.execute(None, action).await?;
    let id = created!(done, KeyPair)?;
    let pair = done.state.get::<KeyPair>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::ImportKeyPairResult {
        key_fingerprint: some(&pair.fingerprint),
        key_name: some(&pair.name),
        key_pair_id: some(pair.id),
        tags: tags(&pair.tags),
    })
}

/// A pair that is not there is deleted already: AWS answers so as well.
async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteKeyPairRequest,
) -> Result<ec2::DeleteKeyPairResult, AwsError> {
    let pair: Option<Arc<KeyPair>> = match (request.key_name.as_deref(), request.key_pair_id.as_deref()) {
        (Some(name), None) => find_key_pair(&call.state, call.account, name).ok().cloned(),
        (None, Some(id)) => call.state.get(call.account, parameters::id(id)?).ok(),
        (None, None) => return Err(parameters::missing("KeyName")),
        (Some(_), Some(_)) => {
            return Err(parameters::combination("Either KeyName or KeyPairId may be given, not both"));
        }
    };
    let id = pair.map(|pair| pair.id);
    if let Some(key_pair) = id {
        call.execute(None, Action::DeleteKeyPair { key_pair }).await?;
    }
    Ok(ec2::DeleteKeyPairResult { key_pair_id: id.map(|id| id.to_string()), r#return: Some(true) })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeKeyPairsRequest,
) -> Result<ec2::DescribeKeyPairsResult, AwsError> {
    let mut pairs: Vec<Arc<KeyPair>> = Vec::new();
    for name in &request.key_names {
        let found = find_key_pair(&call.state, call.account, name);
        pairs.push(found.map_err(|refusal| call.refuse(refusal))?.clone());
    }
    if request.key_names.is_empty() || !request.key_pair_ids.is_empty() {
        pairs.extend(call.select::<KeyPair>(&request.key_pair_ids)?);
    }
    pairs.sort_by_key(|pair| pair.id);
    pairs.dedup_by_key(|pair| pair.id);
    let public_key = request.include_public_key.unwrap_or(false);
    let rows = pairs.iter().map(|pair| show(pair, public_key)).collect();
    Ok(ec2::DescribeKeyPairsResult { key_pairs: call.all(rows, &request.filters)? })
}
