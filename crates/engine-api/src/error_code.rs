//! Error codes of JSON-RPC 2.0, of the Engine API (execution-apis, src/engine/common.md) and of its EIP-8025
//! extension (protocol.md section 7).

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $message:literal;)+) => {
        /// What an error object's `code` means.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)+
            /// A code that none of the texts names; kept as it came.
            Other(i64),
        }

        impl ErrorCode {
            /// Every code that the texts name.
            pub const NAMED: &'static [Self] = &[$(Self::$variant),+];

            /// The number on the wire.
            pub const fn as_i64(self) -> i64 {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Other(code) => code,
                }
            }

            /// The message that goes with the code where nothing better is known.
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)+
                    Self::Other(_) => "Error",
                }
            }
        }

        impl From<i64> for ErrorCode {
            fn from(code: i64) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::Other(other),
                }
            }
        }
    };
}

codes! {
    /// The body is no JSON.
    ParseError = -32700, "Parse error";
    /// JSON, but no request.
    InvalidRequest = -32600, "Invalid Request";
    /// No such method.
    MethodNotFound = -32601, "Method not found";
    /// Parameters missing, misordered or of the wrong kind.
    InvalidParams = -32602, "Invalid params";
    /// The callee could not do its work.
    InternalError = -32603, "Internal error";
    /// A server's own error.
    ServerError = -32000, "Server error";
    /// No payload is being built under this id.
    UnknownPayload = -38001, "Unknown payload";
    /// A fork choice state that contradicts itself.
    InvalidForkchoiceState = -38002, "Invalid forkchoice state";
    /// Payload attributes that do not fit the head.
    InvalidPayloadAttributes = -38003, "Invalid payload attributes";
    /// More was asked for than the callee answers in one call.
    TooLargeRequest = -38004, "Too large request";
    /// The method's version is not that of the payload's fork.
    UnsupportedFork = -38005, "Unsupported fork";
    /// A reorg deeper than the callee can do.
    TooDeepReorg = -38006, "Too deep reorg";
    /// EIP-8025: the proof cannot be read.
    InvalidProofFormat = -39001, "Invalid proof format";
    /// EIP-8025: the payload request header cannot be read.
    InvalidHeaderFormat = -39002, "Invalid header format";
    /// EIP-8025: the payload cannot be proven.
    InvalidPayload = -39003, "Invalid payload";
    /// EIP-8025: no proofs are made here.
    ProofGenerationUnavailable = -39004, "Proof generation unavailable";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.as_i64(), self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_and_numbers_go_both_ways() {
        for code in ErrorCode::NAMED {
            assert_eq!(ErrorCode::from(code.as_i64()), *code);
        }
        assert_eq!(ErrorCode::from(-1), ErrorCode::Other(-1));
        assert_eq!(ErrorCode::Other(17).as_i64(), 17);
        let engine: Vec<i64> = ErrorCode::NAMED
            .iter()
            .map(|c| c.as_i64())
            .filter(|c| *c < -38000 && *c > -39000)
            .collect();
        assert_eq!(engine, [-38001, -38002, -38003, -38004, -38005, -38006]);
    }
}
