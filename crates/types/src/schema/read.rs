//! Reading typed values out of checked bytes: what a container's Rust type is filled from.

use super::View;
use crate::proof::SszError;
use bytes::Bytes;

/// A checked container in a shared buffer. The names asked for come from code, so an error here means that a Rust type
/// and a shape disagree, not that the bytes are wrong.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    view: View<'a>,
    buffer: &'a Bytes,
}

impl<'a> Reader<'a> {
    /// `view` is of `buffer`'s bytes.
    pub(crate) fn new(view: View<'a>, buffer: &'a Bytes) -> Self {
        Self { view, buffer }
    }

    fn mismatch(&self, name: &str) -> SszError {
        SszError {
            container: self.view.schema().name(),
            why: format!("the shape has no such field {name}"),
        }
    }

    /// A field that is itself a container or list.
    pub(crate) fn field(&self, name: &str) -> Result<Reader<'a>, SszError> {
        let view = self.view.at(name).ok_or_else(|| self.mismatch(name))?;
        Ok(Reader::new(view, self.buffer))
    }

    /// The serialised value.
    pub(crate) fn view(&self) -> View<'a> {
        self.view
    }

    /// A byte vector of `N` bytes.
    pub(crate) fn array<const N: usize, T: From<[u8; N]>>(&self, name: &str) -> Result<T, SszError> {
        let array = self
            .field(name)?
            .view
            .as_array::<N>()
            .ok_or_else(|| self.mismatch(name))?;
        Ok(T::from(array))
    }

    /// A uint of at most 8 bytes.
    pub(crate) fn u64(&self, name: &str) -> Result<u64, SszError> {
        self.field(name)?.view.as_u64().ok_or_else(|| self.mismatch(name))
    }

    /// A byte string: a slice of the buffer.
    pub(crate) fn bytes(&self, name: &str) -> Result<Bytes, SszError> {
        Ok(self.field(name)?.shared())
    }

    /// The serialised value as a slice of the buffer.
    pub(crate) fn shared(&self) -> Bytes {
        self.buffer.slice_ref(self.view.bytes())
    }

    /// The elements of a list.
    pub(crate) fn items<T>(
        &self,
        name: &str,
        read: impl Fn(Reader<'a>) -> Result<T, SszError>,
    ) -> Result<Vec<T>, SszError> {
        self.field(name)?
            .view
            .items()
            .map(|item| read(Reader::new(item, self.buffer)))
            .collect()
    }
}
