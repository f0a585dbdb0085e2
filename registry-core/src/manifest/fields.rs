//! The fields of manifests and descriptors, read one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::image as oci;

use super::strict::{Excerpt, Object, Value};
use crate::{Descriptor, Digest, Error, ErrorKind, MediaType, Result};

const DESCRIPTOR_KEYS: &[&str] = &[
    "mediaType",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "artifactType",
    "platform",
];

const PLATFORM_KEYS: &[&str] = &[
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "features",
];

/// Where in a document a value stands.
#[derive(Clone, Copy)]
pub(super) enum Place<'p> {
    Document,
    Field(&'p Self, &'p str),
    Item(&'p Self, usize),
}

impl Place<'_> {
    /// The error that this place is wrong because of `reason`.
    pub(super) fn invalid(&self, reason: impl fmt::Display) -> Error {
        ErrorKind::ManifestInvalid.error(format!("{self} {reason}"))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("the manifest"),
            Self::Field(Self::Document, key) => f.write_str(key),
            Self::Field(parent, key) => write!(f, "{parent}.{key}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// An object of a document, and the place where it stands.
pub(super) struct Fields<'d, 'v> {
    object: &'d Object<'v>,
    place: Place<'d>,
}

impl<'d, 'v> Fields<'d, 'v> {
    /// The fields of the object at `place`, among which `known` are looked
    /// at. The digests in others are added to `strays`.
    pub(super) fn new(
        value: &'d Value<'v>,
        place: Place<'d>,
        known: &[&'static str],
        strays: &mut BTreeSet<Digest>,
    ) -> Result<Self> {
        let Value::Object(object) = value else {
            return Err(place.invalid("must be an object"));
        };
        if let Some((key, twin)) = object.lookalike(known) {
            return Err(place.invalid(format_args!(
                "has a field {} that some readers take for '{twin}'; write it so or rename it",
                Excerpt(key)
            )));
        }
        for (key, value) in object.iter().filter(|(key, _)| !known.contains(key)) {
            strays.extend(key.parse::<Digest>());
            collect_digests(value, strays);
        }
        Ok(Self { object, place })
    }

    /// Adds the digests in the field `key` to `digests`.
    pub(super) fn collect_digests(&self, key: &str, digests: &mut BTreeSet<Digest>) {
        if let Some(value) = self.get(key) {
            collect_digests(value, digests);
        }
    }

    /// Whether the field is there, even as `null`.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.object.contains(key)
    }

    /// The field, unless absent or `null`.
    pub(super) fn get(&self, key: &str) -> Option<&'d Value<'v>> {
        self.object.get(key)
    }

    /// The place of a field.
    pub(super) fn place<'p>(&'p self, key: &'p str) -> Place<'p> {
        Place::Field(&self.place, key)
    }

    fn require(&self, key: &str) -> Result<&'d Value<'v>> {
        self.get(key)
            .ok_or_else(|| self.place(key).invalid("is missing"))
    }

    fn text(&self, key: &str) -> Result<Option<&'d str>> {
        self.get(key)
            .map(|value| text(value, self.place(key)))
            .transpose()
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        self.items(key)?
            .map(|items| {
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        text(item, Place::Item(&self.place(key), index)).map(str::to_owned)
                    })
                    .collect()
            })
            .transpose()
    }

    /// The items of an array, unless absent or `null`.
    pub(super) fn items(&self, key: &str) -> Result<Option<&'d [Value<'v>]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.place(key).invalid("must be an array")),
        }
    }

    /// A media type, unless absent, `null` or empty.
    pub(super) fn media_type(&self, key: &str) -> Result<Option<MediaType>> {
        self.text(key)?
            .filter(|text| !text.is_empty())
            .map(|text| {
                text.parse().map_err(|_| {
                    self.place(key).invalid(format_args!(
                        "is {}, which is not a media type; write type/subtype without parameters",
                        Excerpt(text)
                    ))
                })
            })
            .transpose()
    }

    /// The annotations, none if absent or `null`. Their values are free, but
    /// digests among them count as strays: some tools name companions so.
    pub(super) fn annotations(
        &self,
        strays: &mut BTreeSet<Digest>,
    ) -> Result<BTreeMap<String, String>> {
        let place = self.place("annotations");
        let entries = match self.get("annotations") {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(entries)) => entries,
            Some(_) => return Err(place.invalid("must be an object")),
        };
        entries
            .iter()
            .map(|(key, value)| {
                let Value::String(value) = value else {
                    return Err(place.invalid(format_args!(
                        "has a value that is not a string under {}; write it in quotes",
                        Excerpt(key)
                    )));
                };
                strays.extend(value.parse::<Digest>());
                Ok((key.to_owned(), value.to_string()))
            })
            .collect()
    }
}

fn text<'d>(value: &'d Value<'_>, place: Place<'_>) -> Result<&'d str> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(place.invalid("must be a string")),
    }
}

/// Adds every text in `value` that is a digest.
fn collect_digests(value: &Value<'_>, digests: &mut BTreeSet<Digest>) {
    match value {
        Value::String(text) => digests.extend(text.parse::<Digest>()),
        Value::Array(items) => items.iter().for_each(|item| collect_digests(item, digests)),
        Value::Object(object) => {
            for (key, value) in object.iter() {
                digests.extend(key.parse::<Digest>());
                collect_digests(value, digests);
            }
        }
        Value::Null | Value::Bool | Value::Integer(_) | Value::Number => {}
    }
}

/// A descriptor in the registry's words and in those of `oci_spec`.
pub(super) struct Described {
    pub(super) descriptor: Descriptor,
    pub(super) typed: oci::Descriptor,
}

/// Reads the descriptor at `place`. Without a media type it is refused, or
/// taken for the one of any bytes if `untyped` allows that.
pub(super) fn descriptor(
    value: &Value<'_>,
    place: Place<'_>,
    untyped: bool,
    strays: &mut BTreeSet<Digest>,
) -> Result<Described> {
    let fields = Fields::new(value, place, DESCRIPTOR_KEYS, strays)?;
    let stated = fields.media_type("mediaType")?;
    if stated.is_none() && !untyped {
        return Err(fields.place("mediaType").invalid("is missing"));
    }
    let digest = digest(&fields)?;
    let size = size(&fields)?;
    check_data(&fields, &digest, size)?;
    let artifact_type = fields.media_type("artifactType")?;
    let annotations = fields.annotations(strays)?;

    let typed_digest = digest
        .to_string()
        .parse::<oci::Digest>()
        .map_err(|source| Error::internal("the digest can't be represented", source))?;
    let stated_type = stated.as_ref().map_or("", MediaType::as_str);
    let mut typed = oci::Descriptor::new(stated_type.into(), size, typed_digest);
    typed.set_urls(fields.texts("urls")?);
    typed.set_data(fields.text("data")?.map(str::to_owned));
    typed.set_artifact_type(artifact_type.as_ref().map(typed_media_type));
    typed.set_platform(platform(&fields, strays)?);
    if !annotations.is_empty() {
        typed.set_annotations(Some(annotations.clone().into_iter().collect()));
    }
    let descriptor = Descriptor {
        media_type: stated.unwrap_or(MediaType::OCTET_STREAM),
        digest,
        size,
        artifact_type: artifact_type.map(|artifact_type| artifact_type.to_string()),
        annotations,
    };
    Ok(Described { descriptor, typed })
}

/// The media type in the words of `oci_spec`.
pub(super) fn typed_media_type(media_type: &MediaType) -> oci::MediaType {
    media_type.as_str().into()
}

fn digest(fields: &Fields<'_, '_>) -> Result<Digest> {
    let place = fields.place("digest");
    let text = text(fields.require("digest")?, place)?;
    text.parse()
        .map_err(|source: Error| place.invalid(format_args!("is {}: {source}", Excerpt(text))))
}

fn size(fields: &Fields<'_, '_>) -> Result<u64> {
    match fields.require("size")? {
        // Clients read it into a signed number.
        Value::Integer(size) if i64::try_from(*size).is_ok() => Ok(*size),
        _ => Err(fields
            .place("size")
            .invalid("must be a whole number of bytes, from 0 to 9223372036854775807")),
    }
}

/// Checks content that a descriptor carries with it. It is compared here
/// because clients may use it instead of the blob.
fn check_data(fields: &Fields<'_, '_>, digest: &Digest, size: u64) -> Result<()> {
    let place = fields.place("data");
    let Some(data) = fields.text("data")? else {
        return Ok(());
    };
    let content = STANDARD
        .decode(data)
        .map_err(|source| place.invalid("must be padded base64").with_source(source))?;
    if content.len() as u64 != size {
        return Err(place.invalid("has not the size that its descriptor states"));
    }
    if digest.algorithm().digest(&content) != *digest {
        return Err(place.invalid("has not the digest that its descriptor states"));
    }
    Ok(())
}

/// The platform of a descriptor. As for Go's clients, an absent part is an
/// empty one.
fn platform(
    fields: &Fields<'_, '_>,
    strays: &mut BTreeSet<Digest>,
) -> Result<Option<oci::Platform>> {
    let Some(value) = fields.get("platform") else {
        return Ok(None);
    };
    let fields = Fields::new(value, fields.place("platform"), PLATFORM_KEYS, strays)?;
    let mut platform = oci::Platform::default();
    platform
        .set_architecture(fields.text("architecture")?.unwrap_or_default().into())
        .set_os(fields.text("os")?.unwrap_or_default().into())
        .set_os_version(fields.text("os.version")?.map(str::to_owned))
        .set_os_features(fields.texts("os.features")?)
        .set_variant(fields.text("variant")?.map(str::to_owned))
        .set_features(fields.texts("features")?);
    Ok(Some(platform))
}
