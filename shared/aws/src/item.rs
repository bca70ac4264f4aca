//! Between entities and DynamoDB items.

use aws_sdk_dynamodb::types::AttributeValue;
use docuchat_domain::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;

/// A DynamoDB item.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A string attribute.
pub(crate) fn s(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers are copied; a reference at every call would only be noise"
)]
pub(crate) fn n(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// An entity as an item with its keys.
pub(crate) fn to_item<T: Serialize>(entity: &T, keys: &[(&str, String)]) -> Result<Item> {
    let mut item: Item = serde_dynamo::to_item(entity).map_err(|e| Error::internal("writing an item", e))?;
    for (name, value) in keys {
        item.insert((*name).to_owned(), s(value.clone()));
    }
    Ok(item)
}

/// An item as an entity. A row that does not fit its type is a defect: it is reported as one, not skipped.
pub(crate) fn from_item<T: DeserializeOwned>(item: Item) -> Result<T> {
    serde_dynamo::from_item(item).map_err(|e| Error::internal("reading an item", e))
}
