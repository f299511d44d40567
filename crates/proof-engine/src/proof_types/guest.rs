//! What a guest program commits to, by the name of its family. `specs/native-verifiers.md` has them byte by byte.

use assay_types::proof_beta::SCHEMA_ID;
use std::{fmt, path::PathBuf};

/// Why a family cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestFamilyError {
    /// No such family.
    #[error(
        "{0:?} is no guest family: output, output-sha256, validation-result, validation-result-sha256 \
         (specs/native-verifiers.md), or unsafe-statements in tests"
    )]
    Unknown(String),
    /// Parts that do not belong together.
    #[error("{0}")]
    Form(String),
}

/// The guest's family by name, with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFamily {
    /// `output`
    Output,
    /// `output-sha256`
    OutputSha256,
    /// `validation-result`, and its schema id
    ValidationResult(u16),
    /// `validation-result-sha256`, and its schema id
    ValidationResultSha256(u16),
    /// `unsafe-statements`, and the table's file
    UnsafeStatements(PathBuf),
}

impl GuestFamily {
    /// From its parts as they are written.
    pub(super) fn read(
        family: &str,
        schema: Option<&str>,
        statements: Option<String>,
    ) -> Result<Self, GuestFamilyError> {
        let form = |why: String| GuestFamilyError::Form(why);
        let schema_id = match schema {
            None => SCHEMA_ID,
            Some(text) => {
                let number = match text.strip_prefix("0x") {
                    Some(digits) => u16::from_str_radix(digits, 16),
                    None => text.parse(),
                };
                number.map_err(|_| form("schema is a number from 0 to 65535, as 0x1501".into()))?
            }
        };
        let guest = match family {
            "output" => Self::Output,
            "output-sha256" => Self::OutputSha256,
            "validation-result" => Self::ValidationResult(schema_id),
            "validation-result-sha256" => Self::ValidationResultSha256(schema_id),
            "unsafe-statements" => {
                let file = statements
                    .clone()
                    .ok_or_else(|| form("guest=unsafe-statements needs statements=FILE".into()))?;
                Self::UnsafeStatements(file.into())
            }
            other => return Err(GuestFamilyError::Unknown(other.to_owned())),
        };
        if schema.is_some() && !family.starts_with("validation-result") {
            return Err(form(format!("guest={family} has no schema")));
        }
        if statements.is_some() && family != "unsafe-statements" {
            return Err(form(format!("guest={family} takes no statements")));
        }
        Ok(guest)
    }

    /// Names and values, in the order they are written.
    pub(super) fn parts(&self) -> Vec<(&'static str, String)> {
        let schema = |id: &u16| ("schema", format!("{id:#06x}"));
        let (guest, more) = match self {
            Self::Output => ("output", None),
            Self::OutputSha256 => ("output-sha256", None),
            Self::ValidationResult(id) => ("validation-result", Some(schema(id))),
            Self::ValidationResultSha256(id) => ("validation-result-sha256", Some(schema(id))),
            Self::UnsafeStatements(file) => (
                "unsafe-statements",
                Some(("statements", file.display().to_string())),
            ),
        };
        let mut parts = vec![("guest", guest.to_owned())];
        parts.extend(more);
        parts
    }

    /// Whether its proofs prove nothing about execution.
    pub fn is_insecure(&self) -> bool {
        matches!(self, Self::UnsafeStatements(_))
    }
}

/// Its name; with the schema, where it has one.
impl fmt::Display for GuestFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output => f.write_str("output"),
            Self::OutputSha256 => f.write_str("output-sha256"),
            Self::ValidationResult(id) => write!(f, "validation-result schema {id:#06x}"),
            Self::ValidationResultSha256(id) => write!(f, "validation-result-sha256 schema {id:#06x}"),
            Self::UnsafeStatements(_) => f.write_str("unsafe-statements"),
        }
    }
}
