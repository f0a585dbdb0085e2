//! The bodies of answers with a list.

use std::fmt;
use std::marker::PhantomData;

use registry_core::{Descriptor, ErrorKind, RepositoryName, Result, Tag};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The tags that a list holds.
pub(super) fn tags(list: &[u8]) -> Result<Vec<Tag>> {
    #[derive(Deserialize)]
    struct List {
        tags: Option<Vec<Tag>>,
    }
    Ok(parse::<List>(list)?.tags.unwrap_or_default())
}

/// The descriptors that an index holds.
pub(super) fn referrers(list: &[u8]) -> Result<Vec<Descriptor>> {
    #[derive(Deserialize)]
    struct List {
        manifests: Option<Vec<Object<Descriptor>>>,
    }
    let manifests = parse::<List>(list)?.manifests.unwrap_or_default();
    Ok(manifests.into_iter().map(|Object(item)| item).collect())
}

/// The names that a catalog holds.
pub(super) fn repositories(list: &[u8]) -> Result<Vec<RepositoryName>> {
    #[derive(Deserialize)]
    struct List {
        repositories: Option<Vec<RepositoryName>>,
    }
    Ok(parse::<List>(list)?.repositories.unwrap_or_default())
}

fn parse<'de, T: Deserialize<'de>>(list: &'de [u8]) -> Result<T> {
    let Object(list) = serde_json::from_slice(list).map_err(|source| {
        ErrorKind::Unavailable
            .error("the remote registry answers with something that isn't a list")
            .with_source(source)
    })?;
    Ok(list)
}

/// A JSON object. Serde alone takes an array of the values in their order, too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData)).map(Self)
    }
}
