#!/bin/sh
''''exec "$(command -v python3 || echo /usr/libexec/platform-python)" "$0" # '''
# Made by muster: fetches this worker's parameters at each boot. sh hands it to the Python that cloud-init runs with.
import hashlib, hmac, json, os, sys, time, urllib.error, urllib.parse, urllib.request

STORE, PLACE, REGION = "@STORE@", "@PLACE@", "@REGION@"
ROOT = os.environ.get("ROOT", "")
FILE = ROOT + "/etc/muster/parameters.json"
AT_BOOT = ROOT + "/var/lib/cloud/scripts/per-boot/muster-parameters"
IMDS = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"


def metadata(path):
    def ask(method, path, headers):
        request = urllib.request.Request(IMDS.rstrip("/") + "/latest/" + path, method=method, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(request, timeout=5).read().decode()

    token = ask("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "300"})
    return ask("GET", "meta-data/" + path, {"X-aws-ec2-metadata-token": token})


def call(service, method, path, body=b"", **headers):
    """One call, signed with the role of the instance profile (AWS Signature Version 4)."""
    roles = "iam/security-credentials/"
    keys = json.loads(metadata(roles + metadata(roles).split("\n")[0]))
    own = "https://%s.%s.%s" % (service, REGION, metadata("services/domain"))
    base = os.environ.get("AWS_ENDPOINT_URL") or own
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    sha256 = lambda data: hashlib.sha256(data).hexdigest()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers.update({"host": urllib.parse.urlsplit(base).netloc, "x-amz-content-sha256": sha256(body)})
    headers.update({"x-amz-date": stamp, "x-amz-security-token": keys["Token"]})
    names = ";".join(sorted(headers))
    lines = ["%s:%s" % (name, headers[name]) for name in sorted(headers)]
    request = "\n".join([method, path, "", *lines, "", names, sha256(body)])
    scope = "/".join([stamp[:8], REGION, service, "aws4_request"])
    key = ("AWS4" + keys["SecretAccessKey"]).encode()
    for part in scope.split("/") + ["\n".join(["AWS4-HMAC-SHA256", stamp, scope, sha256(request.encode())])]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signed = "Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (keys["AccessKeyId"], scope, names, key.hex())
    headers["authorization"] = "AWS4-HMAC-SHA256 " + signed
    request = urllib.request.Request(base.rstrip("/") + path, body or None, headers, method=method)
    return urllib.request.urlopen(request, timeout=10).read(1 << 22)


def fetch():
    if STORE == "s3":
        document = call("s3", "GET", "/" + PLACE)
        # The key ends in a hash of the document.
        if hashlib.sha256(document).hexdigest()[:32] != PLACE[-37:-5]:
            raise ValueError("s3://%s is not the document that muster wrote: who may write there?" % PLACE)
        return json.loads(document.decode())["values"]
    found, ask = {}, {"Path": PLACE, "WithDecryption": True}
    while True:
        kind = {"content_type": "application/x-amz-json-1.1", "x_amz_target": "AmazonSSM.GetParametersByPath"}
        page = json.loads(call("ssm", "POST", "/", json.dumps(ask).encode(), **kind).decode())
        found.update((row["Name"].rsplit("/", 1)[1], row["Value"]) for row in page["Parameters"])
        if not page.get("NextToken"):
            return found
        ask["NextToken"] = page["NextToken"]


def write(path, data, mode):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(data)
    os.rename(path + ".new", path)


os.umask(0o077)
if os.path.abspath(__file__) != AT_BOOT:
    write(AT_BOOT, open(__file__).read(), 0o700)
# A new role and new parameters take a while to be seen everywhere. A worker that has parameters boots on with these.
patience, pause = time.monotonic() + (60 if os.path.exists(FILE) else 600), 1
while True:
    try:
        values = fetch()
        break
    except Exception as error:
        told = error.read(300) if isinstance(error, urllib.error.HTTPError) else b""
        print("muster: cannot fetch the parameters yet:", error, told.decode(errors="replace"), file=sys.stderr)
    if time.monotonic() + pause > patience:
        sys.exit("muster: gave up on fetching the parameters")
    time.sleep(pause)
    pause = min(2 * pause, 30)
os.makedirs(os.path.dirname(FILE), exist_ok=True)
os.chmod(os.path.dirname(FILE), 0o700)
write(FILE, json.dumps(values, indent=1, sort_keys=True) + "\n", 0o600)
