//! The console output of an instance.

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    aws::{Bucket, Error, ec2::Ec2},
    ids::InstanceId,
};

impl Ec2 {
    /// The console output. Empty until EC2 has it, some minutes after the start.
    pub async fn console_output(&self, id: &InstanceId) -> Result<String, Error> {
        const OPERATION: &str = "ec2:GetConsoleOutput";
        let _permit = self.session.take(OPERATION, Bucket::Describe, 1)?;
        let answer = self.client.get_console_output().instance_id(id.as_str()).send().await;
        let answer = answer.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        let encoded: String = answer.output().unwrap_or_default().split_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|error| Error::garbled(OPERATION, error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
