//! Service, region and access key out of a SigV4 credential scope.

use http::{header, request};

/// `AKIA.../20260101/eu-west-1/ec2/aws4_request`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CredentialScope {
    pub(crate) access_key: String,
    pub(crate) region: String,
    pub(crate) service: String,
    pub(crate) session_token: Option<String>,
}

/// Reads the Authorization header, or the query of a presigned URL. `None`: the request is not signed with SigV4.
pub(crate) fn read(request: &request::Parts) -> Option<CredentialScope> {
    from_header(request).or_else(|| from_query(request.uri.query()?))
}

fn from_header(request: &request::Parts) -> Option<CredentialScope> {
    let header = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let fields = header.strip_prefix("AWS4-HMAC-SHA256")?;
    let credential = fields.split(',').find_map(|field| field.trim().strip_prefix("Credential="))?;
    let token = request.headers.get("x-amz-security-token").and_then(|value| value.to_str().ok());
    parse(credential, token.map(str::to_owned))
}

fn from_query(query: &str) -> Option<CredentialScope> {
    let find = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    parse(&find("X-Amz-Credential")?, find("X-Amz-Security-Token"))
}

fn parse(credential: &str, session_token: Option<String>) -> Option<CredentialScope> {
    let mut parts = credential.rsplit('/');
    let (terminator, service, region, _date) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let access_key = parts.next()?;
    (terminator == "aws4_request").then(|| CredentialScope {
        access_key: access_key.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        session_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(request: request::Builder) -> request::Parts {
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_signed_header_names_key_region_and_service() {
        let request = parts(http::Request::post("/").header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIASANDBOX111111111111/20260101/eu-west-1/ec2/aws4_request, \
             SignedHeaders=host, Signature=abc",
        ));
        let scope = read(&request).expect("a scope");
        assert_eq!((scope.service.as_str(), scope.region.as_str()), ("ec2", "eu-west-1"));
        assert_eq!(scope.access_key, "AKIASANDBOX111111111111");
        assert_eq!(scope.session_token, None);
    }

    #[test]
    fn a_presigned_url_carries_its_session_token() {
        let request = parts(http::Request::get(
            "/b/k?X-Amz-Credential=ASIA1%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Security-Token=t%2Bo",
        ));
        let scope = read(&request).expect("a scope");
        assert_eq!((scope.service.as_str(), scope.session_token.as_deref()), ("s3", Some("t+o")));
    }

    #[test]
    fn anything_else_is_unsigned() {
        for value in ["Basic abc", "AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=y", "Bearer z"] {
            assert_eq!(read(&parts(http::Request::get("/").header("authorization", value))), None, "{value}");
        }
    }
}
