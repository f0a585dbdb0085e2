//! From JSON to a [`Document`].

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use oci_spec::image as oci;

use super::document::{Content, Document, ManifestReference, ReferenceKind};
use super::fields::{self, Fields, Place};
use super::strict::Value;
use crate::{Descriptor, Digest, Error, ErrorKind, ManifestRules, MediaType, Result};

const KEYS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
];

/// Reads a document that came with `media_type`.
pub(super) fn read(
    value: &Value<'_>,
    media_type: Option<MediaType>,
    rules: &ManifestRules,
) -> Result<Document> {
    let mut references = References {
        limit: rules.max_descriptors,
        ..References::default()
    };
    let fields = Fields::new(value, Place::Document, KEYS, &mut references.strays)?;
    let media_type = accept(&fields, media_type)?;
    let annotations = fields.annotations(&mut references.strays)?;
    let mut content = if media_type.is_index() {
        read_index(&fields, &mut references)?
    } else {
        read_image(&fields, &mut references)?
    };
    let subject = if is_docker(&media_type) {
        fields.collect_digests("subject", &mut references.strays);
        None
    } else {
        references.read(&fields, "subject", ReferenceKind::Subject)?
    };

    let stated = fields.media_type("mediaType")?.as_ref().map(typed);
    let artifact_type = fields.media_type("artifactType")?.as_ref().map(typed);
    let copied = (!annotations.is_empty()).then(|| annotations.clone().into_iter().collect());
    match &mut content {
        Content::Image(image) => {
            image
                .set_media_type(stated)
                .set_artifact_type(artifact_type)
                .set_subject(subject)
                .set_annotations(copied);
        }
        Content::Index(index) => {
            index
                .set_media_type(stated)
                .set_artifact_type(artifact_type)
                .set_subject(subject)
                .set_annotations(copied);
        }
    }
    Ok(Document {
        media_type,
        content,
        references: references.finish()?,
        annotations,
    })
}

fn typed(media_type: &MediaType) -> oci::MediaType {
    fields::typed_media_type(media_type)
}

fn is_docker(media_type: &MediaType) -> bool {
    *media_type == MediaType::DOCKER_MANIFEST || *media_type == MediaType::DOCKER_LIST
}

fn invalid(reason: impl Into<String>) -> Error {
    ErrorKind::ManifestInvalid.error(reason)
}

/// Decides of what type the document is, and whether it may be.
fn accept(fields: &Fields<'_, '_>, given: Option<MediaType>) -> Result<MediaType> {
    let is_index = fields.contains("manifests");
    let is_image = fields.contains("config") || fields.contains("layers");
    if is_index && is_image {
        return Err(invalid(
            "the manifest has both 'manifests' and 'config' or 'layers'; make it an index or an \
             image",
        ));
    }
    let stated = fields.media_type("mediaType")?;
    if let (Some(given), Some(stated)) = (&given, &stated)
        && given != stated
    {
        return Err(invalid(format!(
            "the manifest was sent as {given} but its mediaType is {stated}; make them equal"
        )));
    }
    let media_type = given.or(stated);
    let version = fields.get("schemaVersion");
    if fields.contains("fsLayers")
        || version == Some(&Value::Integer(1))
        || media_type.as_ref().is_some_and(is_schema_1)
    {
        return Err(invalid(
            "manifests of schema 1 are not supported; push with a current client",
        ));
    }
    let media_type = match media_type {
        Some(media_type) => media_type,
        None if is_index => MediaType::OCI_INDEX,
        None if is_image => MediaType::OCI_MANIFEST,
        None => {
            return Err(invalid(
                "the manifest does not tell its type; send it as Content-Type",
            ));
        }
    };
    if !media_type.is_image_manifest() && !media_type.is_index() {
        return Err(invalid(format!(
            "manifests of type {media_type} are not supported; accepted are {}, {}, {} and {}",
            MediaType::OCI_MANIFEST,
            MediaType::OCI_INDEX,
            MediaType::DOCKER_MANIFEST,
            MediaType::DOCKER_LIST,
        )));
    }
    if media_type.is_index() && is_image {
        return Err(invalid(format!(
            "the manifest is of type {media_type}, which has no 'config' and no 'layers'"
        )));
    }
    if media_type.is_image_manifest() && is_index {
        return Err(invalid(format!(
            "the manifest is of type {media_type}, which has no 'manifests'"
        )));
    }
    if version != Some(&Value::Integer(2)) {
        return Err(fields.place("schemaVersion").invalid("must be 2"));
    }
    Ok(media_type)
}

fn is_schema_1(media_type: &MediaType) -> bool {
    matches!(
        media_type.as_str(),
        "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )
}

fn read_image(fields: &Fields<'_, '_>, references: &mut References) -> Result<Content> {
    let config = references
        .read(fields, "config", ReferenceKind::Config)?
        .ok_or_else(|| fields.place("config").invalid("is missing"))?;
    let layers = references.read_items(fields, "layers", |_| ReferenceKind::Layer)?;
    oci::ImageManifestBuilder::default()
        .schema_version(oci::SCHEMA_VERSION)
        .config(config)
        .layers(layers)
        .build()
        .map(|image| Content::Image(Box::new(image)))
        .map_err(|source| Error::internal("the image can't be represented", source))
}

fn read_index(fields: &Fields<'_, '_>, references: &mut References) -> Result<Content> {
    let manifests = references.read_items(fields, "manifests", |entry| {
        if entry.is_image_manifest() || entry.is_index() {
            ReferenceKind::Manifest
        } else {
            ReferenceKind::Other
        }
    })?;
    oci::ImageIndexBuilder::default()
        .schema_version(oci::SCHEMA_VERSION)
        .manifests(manifests)
        .build()
        .map(|index| Content::Index(Box::new(index)))
        .map_err(|source| Error::internal("the index can't be represented", source))
}

/// What a document refers to, as far as it has been read.
#[derive(Default)]
struct References {
    /// The most descriptors and strays that a document may have.
    limit: usize,
    /// The number of descriptors so far.
    count: usize,
    list: Vec<ManifestReference>,
    /// Where in the list a digest and kind is.
    known: HashMap<(Digest, ReferenceKind), usize>,
    /// The digests in unknown fields.
    strays: BTreeSet<Digest>,
}

impl References {
    /// Reads the descriptor in the field `key`, unless absent or `null`.
    fn read(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &str,
        kind: ReferenceKind,
    ) -> Result<Option<oci::Descriptor>> {
        let untyped = kind == ReferenceKind::Config;
        fields
            .get(key)
            .map(|value| self.read_one(value, fields.place(key), untyped, |_| kind))
            .transpose()
    }

    /// Reads the descriptors in the array `key`, none if absent or `null`.
    fn read_items(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &str,
        kind: fn(&MediaType) -> ReferenceKind,
    ) -> Result<Vec<oci::Descriptor>> {
        let place = fields.place(key);
        fields
            .items(key)?
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(|(index, item)| self.read_one(item, Place::Item(&place, index), false, kind))
            .collect()
    }

    fn read_one(
        &mut self,
        value: &Value<'_>,
        place: Place<'_>,
        untyped: bool,
        kind: impl FnOnce(&MediaType) -> ReferenceKind,
    ) -> Result<oci::Descriptor> {
        self.count = self.count.saturating_add(1);
        self.check_count(self.count)?;
        let described = fields::descriptor(value, place, untyped, &mut self.strays)?;
        let kind = kind(&described.descriptor.media_type);
        self.add(kind, described.descriptor);
        Ok(described.typed)
    }

    fn add(&mut self, kind: ReferenceKind, descriptor: Descriptor) {
        match self.known.entry((descriptor.digest, kind)) {
            Entry::Vacant(entry) => {
                entry.insert(self.list.len());
                self.list.push(ManifestReference { kind, descriptor });
            }
            Entry::Occupied(entry) => {
                if let Some(first) = self.list.get_mut(*entry.get())
                    && first.descriptor.media_type.is_non_distributable()
                {
                    first.descriptor = descriptor;
                }
            }
        }
    }

    fn check_count(&self, count: usize) -> Result<()> {
        if count > self.limit {
            return Err(invalid(format!(
                "the manifest has more than {} descriptors and other digests; split it",
                self.limit
            )));
        }
        Ok(())
    }

    /// All references, the strays last.
    fn finish(mut self) -> Result<Vec<ManifestReference>> {
        let strays = std::mem::take(&mut self.strays);
        let kept = [
            ReferenceKind::Config,
            ReferenceKind::Layer,
            ReferenceKind::Manifest,
            ReferenceKind::Other,
        ];
        for digest in strays {
            if kept
                .iter()
                .any(|kind| self.known.contains_key(&(digest, *kind)))
            {
                continue;
            }
            self.count = self.count.saturating_add(1);
            self.check_count(self.count)?;
            self.add(ReferenceKind::Unknown, Descriptor::blob(digest, 0));
        }
        Ok(self.list)
    }
}
