//! A bound on the length of AWS's answers: an endpoint that never stops sending must not take all memory.

use std::{error::Error, mem};

use aws_sdk_ssm::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::BeforeDeserializationInterceptorContextMut,
    },
    error::BoxError,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::{LengthLimitError, Limited};

/// Bytes that an answer may have: several times the longest that AWS's models allow for a page of
/// sessions, and more than 100 resources with 50 tags each need unless all of it is escaped.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// Cuts every answer off that is longer.
#[derive(Debug)]
pub struct Bounded;

/// The same body, cut off if it is longer.
#[must_use]
pub fn bounded(body: SdkBody) -> SdkBody {
    SdkBody::from_body_1_x(Limited::new(body, MAX_BYTES))
}

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let whole = mem::replace(body, SdkBody::taken());
        *body = bounded(whole);
        Ok(())
    }
}

/// Whether this is what an answer that was cut off came to.
pub(super) fn is_too_long(err: &(dyn Error + 'static)) -> bool {
    err.is::<LengthLimitError>()
}
