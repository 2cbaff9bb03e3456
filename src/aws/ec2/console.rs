//! What an instance said on its console.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Ec2;
use crate::{
    aws::{Bucket, Class, Error, Session},
    ids::InstanceId,
};

impl Ec2 {
    /// What EC2 kept of the console. Empty while it has nothing; it posts it some minutes after the start.
    pub async fn console_output(&self, id: &InstanceId) -> Result<String, Error> {
        const OPERATION: &str = "ec2:GetConsoleOutput";
        let Session { account, region, limits, .. } = &self.session;
        let failure =
            |class, code: &str, message: String| Error { operation: OPERATION, class, code: code.into(), message };
        let _permit = limits.take(account, region, Bucket::Describe, 1).map_err(|_| Error::not_sent(OPERATION))?;
        let answer = self.client.get_console_output().instance_id(id.as_str()).send().await;
        let answer = answer.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        let encoded: String = answer.output().unwrap_or_default().split_whitespace().collect();
        let bytes = BASE64_STANDARD
            .decode(encoded)
            .map_err(|error| failure(Class::Transient, "BadResponse", error.to_string()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
