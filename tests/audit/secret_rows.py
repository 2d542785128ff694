"""Secrets, personal data and look-alikes in the issuers' published formats: templates, drawn anew from each row's name.

`{b62:36}` is 36 letters and digits, `{hex:40}`, `{url:35}` with `-` and `_`, `{up:16}` capitals and digits, `{low:43}`
small letters and digits, `{dig:12}`, `{b64:86}`, `{uuid}`. No key that anybody has stands in this file.
"""

from __future__ import annotations

import random
import re
import string

_ALPHABETS = {
    "b62": string.ascii_letters + string.digits,
    "let": string.ascii_letters,
    "hex": "0123456789abcdef",
    "url": string.ascii_letters + string.digits + "-_",
    "up": string.ascii_uppercase + string.digits,
    "low": string.ascii_lowercase + string.digits,
    "dig": "123456789",
    "b64": string.ascii_letters + string.digits + "+/",
}


def draw(template: str, seed: str = "") -> str:
    """A value of the template: the same for the same seed, with a digit and a letter in every part of ten or more."""
    rng = random.Random(f"{template}{seed}")

    def part(match: re.Match[str]) -> str:
        if match[1] == "uuid":
            return "-".join("".join(rng.choices(_ALPHABETS["hex"], k=n)) for n in (8, 4, 4, 4, 12))
        drawn = rng.choices(_ALPHABETS[match[1]], k=int(match[2]))
        if len(drawn) > 9 and match[1] in {"b62", "url", "b64"}:
            drawn[1:4] = "7", "q", "R"
            drawn[-1] = "x"
        return "".join(drawn)

    return re.sub(r"\{(\w+)(?::(\d+))?\}", part, template)


SECRETS = {
    "AWS access key": "AKIA{up:16}",
    "AWS session key": "ASIA{up:16}",
    "AWS secret key": "aws_secret_access_key = {b64:40}",
    "AWS Bedrock key": "ABSK{b64:128}",
    "Google API key": "AIza{url:35}",
    "Google client secret": "GOCSPX-{url:28}",
    "Google access token": "ya29.{url:120}",
    "Azure storage key": "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={b64:86}==;",
    "Azure client secret": "a7R8Q~{url:34}",
    "Azure signature": "https://shop.blob.core.windows.net/c/f?sv=2023-01-03&se=2027&sig={b62:43}%3D",
    "DigitalOcean token": "dop_v1_{hex:64}",
    "DigitalOcean OAuth": "doo_v1_{hex:64}",
    "DigitalOcean refresh token": "dor_v1_{hex:64}",
    "Databricks token": "dapi{hex:32}",
    "Databricks token, numbered": "dapi{hex:32}-2",
    "Alibaba key": "LTAI{b62:20}",
    "Tencent key": "AKID{b62:32}",
    "Heroku key": "HRKU-{url:60}",
    "PlanetScale token": "pscale_tkn_{b62:43}",
    "PlanetScale password": "pscale_pw_{b62:43}",
    "Supabase token": "sbp_{hex:40}",
    "Fly.io token": "fm2_{b64:120}",
    "Netlify token": "nfp_{b62:36}",
    "Vercel token": "vcp_{b62:56}",
    "Neon key": "napi_{b62:64}",
    "Tailscale key": "tskey-auth-{b62:12}CNTRL-{b62:32}",
    "Cloudflare origin key": "v1.0-{hex:24}-{hex:146}",
    "Scalingo token": "tk-us-{url:48}",
    "Deno token": "ddp_{b62:36}",
    "Yandex key": "AQVN{url:38}",
    "OpenShift token": "sha256~{url:43}",
    "Dynatrace token": "dt0c01.{up:24}.{up:64}",
    "GitHub personal token": "ghp_{b62:36}",
    "GitHub OAuth token": "gho_{b62:36}",
    "GitHub user token": "ghu_{b62:36}",
    "GitHub server token": "ghs_{b62:36}",
    "GitHub refresh token": "ghr_{b62:76}",
    "GitHub fine-grained token": "github_pat_{b62:22}_{b62:59}",
    "GitLab token": "glpat-{url:20}",
    "GitLab routable token": "glpat-{url:27}.01.{low:9}",
    "GitLab deploy token": "gldt-{url:20}",
    "GitLab runner token": "glrt-{url:20}",
    "GitLab trigger token": "glptt-{hex:40}",
    "GitLab feed token": "glft-{url:20}",
    "GitLab old runner token": "GR1348941{url:20}",
    "Bitbucket token": "ATBB{b62:32}",
    "npm token": "npm_{b62:36}",
    "npm configuration": "//registry.npmjs.org/:_authToken={uuid}",
    "PyPI token": "pypi-AgEIcHlwaS5vcmc{url:140}",
    "RubyGems key": "rubygems_{hex:48}",
    "Docker Hub token": "dckr_pat_{url:27}",
    "Docker configuration": '"auth": "{b64:48}"',
    "crates.io token": "cio{b62:32}",
    "NuGet key": "oy2{low:43}",
    "Clojars token": "CLOJARS_{low:60}",
    "Artifactory key": "AKCp{b62:69}",
    "CircleCI token": "CCIPAT_{b62:22}_{hex:40}",
    "Buildkite token": "bkua_{hex:40}",
    "SonarQube token": "squ_{hex:40}",
    "Sourcegraph token": "sgp_{hex:16}_{hex:40}",
    "Pulumi token": "pul-{hex:40}",
    "Prefect key": "pnu_{b62:36}",
    "Vault token": "hvs.{url:92}",
    "Terraform token": "{b62:14}.atlasv1.{b62:67}",
    "Doppler token": "dp.pt.{b62:43}",
    "Infracost key": "ico-{b62:32}",
    "Octopus key": "API-{up:26}",
    "OpenAI key": "sk-{b62:48}",
    "OpenAI project key": "sk-proj-{url:120}",
    "OpenAI service key": "sk-svcacct-{url:120}",
    "Anthropic key": "sk-ant-api03-{url:93}AA",
    "OpenRouter key": "sk-or-v1-{hex:64}",
    "Langfuse key": "sk-lf-{uuid}",
    "Chutes key": "cpk_{hex:32}.{hex:32}.{b62:32}",
    "Groq key": "gsk_{b62:52}",
    "xAI key": "xai-{b62:80}",
    "Perplexity key": "pplx-{b62:48}",
    "Fireworks key": "fw_{b62:24}",
    "Replicate token": "r8_{b62:37}",
    "NVIDIA key": "nvapi-{url:64}",
    "LangSmith key": "lsv2_pt_{hex:32}_{hex:10}",
    "Tavily key": "tvly-{b62:32}",
    "Pinecone key": "pcsk_{b62:64}",
    "ElevenLabs key": "sk_{hex:48}",
    "Hugging Face token": "hf_{let:34}",
    "Hugging Face organization token": "api_org_{let:34}",
    "Stripe live key": "sk_live_{b62:24}",
    "Stripe restricted key": "rk_live_{b62:99}",
    "Stripe test key": "sk_test_{b62:24}",
    "Stripe webhook secret": "whsec_{b62:32}",
    "Square token": "sq0atp-{url:22}",
    "Square secret": "sq0csp-{url:43}",
    "PayPal token": "access_token$production${low:16}${hex:32}",
    "Razorpay key": "rzp_live_{b62:14}",
    "Flutterwave key": "FLWSECK-{hex:32}-X",
    "EasyPost key": "EZAK{b62:54}",
    "Shippo token": "shippo_live_{hex:40}",
    "Duffel token": "duffel_live_{url:43}",
    "Plaid token": "access-production-{uuid}",
    "Shopify token": "shpat_{hex:32}",
    "Slack bot token": "xoxb-{dig:12}-{dig:12}-{b62:24}",
    "Slack user token": "xoxp-{dig:12}-{dig:12}-{dig:12}-{hex:32}",
    "Slack app token": "xapp-1-A0{up:9}-{dig:13}-{hex:64}",
    "Slack rotated token": "xoxe.xoxp-1-{b62:160}",
    "Slack webhook": "https://hooks.slack.com/services/T0{up:9}/B0{up:9}/{b62:24}",
    "Discord token": "MT{b62:24}.{url:6}.{b62:38}",
    "Discord webhook": "https://discord.com/api/webhooks/{dig:18}/{url:68}",
    "Telegram token": "{dig:10}:AA{url:33}",
    "Teams webhook": "https://acme.webhook.office.com/webhookb2/{uuid}@{uuid}/IncomingWebhook/{hex:32}/{uuid}",
    "SendGrid key": "SG.{url:22}.{url:43}",
    "Mailgun key": "key-{hex:32}",
    "Mailchimp key": "{hex:32}-us12",
    "Brevo key": "xkeysib-{hex:64}-{b62:16}",
    "Resend key": "re_{b62:8}_{b62:24}",
    "Twilio key": "SK{hex:32}",
    "Facebook token": "EAAM{b62:150}",
    "Atlassian token": "ATATT3xFfGF0{url:180}",
    "Linear key": "lin_api_{b62:40}",
    "Postman key": "PMAK-{hex:24}-{hex:34}",
    "Notion token": "ntn_{dig:11}{b62:35}",
    "Figma token": "figd_{url:40}",
    "Airtable token": "pat{b62:14}.{hex:64}",
    "Asana token": "2/{dig:16}/{dig:16}:{hex:32}",
    "Readme key": "rdme_{low:70}",
    "Typeform token": "tfp_{b62:59}",
    "Adafruit key": "aio_{b62:28}",
    "Contentful token": "CFPAT-{url:43}",
    "HubSpot token": "pat-na1-{uuid}",
    "Mapbox token": "sk.eyJ{b62:80}.{url:22}",
    "Okta token": "Authorization: SSWS 00{url:40}",
    "MaxMind key": "{b62:6}_{b62:29}_mmk",
    "New Relic key": "NRAK-{up:27}",
    "Sentry token": "sntryu_{hex:64}",
    "Grafana token": "glsa_{b62:32}_{hex:8}",
    "Grafana cloud token": "glc_{b64:120}=",
    "Yandex IAM token": "t1.9euelZ{url:60}.{url:86}",
    "Render key": "rnd_{b62:28}",
    "Artifactory reference": "cmVmdGtu{b62:56}",
    "1Password token": "ops_eyJ{b64:200}",
    "StackHawk key": "hawk.{url:20}.{url:20}",
    "Langfuse public key": "pk-lf-{uuid}",
    "Modal token": "ak-{b62:22}",
    "Adyen key": "AQE{b62:20}{b64:80}-{b62:20}{b64:40}",
    "Frame.io token": "fio-u-{url:64}",
    "42 secret": "s-s4t2ud-{hex:64}",
    "PostHog key": "phx_{b62:44}",
    "old Grafana key": "eyJrIjoi{b64:70}",
    "PEM private key": "-----BEGIN RSA PRIVATE KEY-----\n{b64:64}\n{b64:64}\n-----END RSA PRIVATE KEY-----",
    "OpenSSH private key": "-----BEGIN OPENSSH PRIVATE KEY-----\n{b64:70}\n-----END OPENSSH PRIVATE KEY-----",
    "PGP private key": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{b64:64}\n-----END PGP PRIVATE KEY BLOCK-----",
    "PuTTY private key": "Private-Lines: 2\n{b64:64}\n{b64:64}\n",
    "age key": "AGE-SECRET-KEY-1{up:58}",
    "JSON web token": "eyJ{b62:33}.eyJ{b62:60}.{url:43}",
    "database URL": "postgres://app:{b62:16}@db.acme.com:5432/shop",
    "Redis URL": "redis://:{b62:20}@cache.acme.com:6379/0",
    "Mongo URL": "mongodb+srv://app:{b62:16}@c0.ab1cd.mongodb.net/shop",
    "bearer header": "Authorization: Bearer {url:40}",
    "basic header": '"Authorization": "Basic {b64:32}"',
    "key header": "curl -H 'x-api-key: {b62:40}' https://api.acme.com",
    "curl user": "curl -u admin:{b62:14} https://api.acme.com",
    "netrc": "machine api.acme.com login app password {b62:14}",
    "exported password": "export DB_PASSWORD={b62:14}",
    "assigned key": 'api_key = "{b62:24}"',
    "assigned token in YAML": "auth_token: {b62:32}",
    "assigned token in JSON": '"access_token": "{b62:32}"',
}
PERSONAL = {
    "e-mail": ("jane.doe{dig:2}@acme-works.com", "email"),
    "e-mail in an author line": ("Author: Jane Doe <jane{dig:2}@acme-works.io>", "email"),
    "e-mail behind mailto": ("mailto:jane{dig:2}@acme-works.com", "email"),
    "e-mail in a URL": ("?to=jane{dig:2}%40acme-works.com&x", "email"),
    "Linux home": ("/home/jdoe{dig:1}/project/x.py", "user"),
    "macOS home": ("/Users/jane.doe{dig:1}/x.py", "user"),
    "other home": ("/var/home/jdoe{dig:1}/x", "user"),
    "home in a file URL": ("file:///Users/jdoe{dig:1}/x.html", "user"),
    "home in an escaped URL": ("path=%2FUsers%2Fjdoe{dig:1}%2Fx", "user"),
    "Windows home": (r"C:\Users\Jane{dig:1}\x.py", "user"),
    "Windows home in JSON": (r"C:\\Users\\Jane{dig:1}\\x.py", "user"),
    "Windows home with slashes": ("C:/Users/Jane{dig:1}/x.py", "user"),
    "old Windows home": (r"C:\Documents and Settings\Jane{dig:1}\x", "user"),
    "WSL home from Linux": ("/mnt/c/Users/jane{dig:1}/x.py", "user"),
    "WSL home from Windows": (r"\\wsl$\Ubuntu\home\jane{dig:1}\x", "user"),
    "WSL home by its new name": (r"\\wsl.localhost\Ubuntu-22.04\home\jane{dig:1}\x", "user"),
    "Git Bash home": ("cd /c/Users/jane{dig:1}/x", "user"),
    "project slug": ("~/.claude/projects/-Users-jane{dig:1}-code-shop/x.jsonl", "user"),
    "Linux project slug": ("/tmp/-home-jane{dig:1}-shop", "user"),
    "prompt": ("jane{dig:1}@thinkpad:~/shop$ ls", "user"),
    "prompt in brackets": ("[jane{dig:1}@build01 shop]$ ls", "user"),
    "prompt of zsh": ("jane{dig:1}@MacBook-Pro shop % ls", "user"),
    "prompt in an environment": ("(venv) jane{dig:1}@host:/srv$ ls", "user"),
    "secure shell": ("ssh jane{dig:1}@10.0.0.4", "user"),
    "secure copy": ("scp -r out jane{dig:1}@build.acme.com:/srv", "user"),
    "owner of a file": ("-rw-r--r--  1 jane{dig:1} staff  512 Jan  1 10:00 x.py", "user"),
    "owner of a folder": ("drwxr-xr-x@ 12 jdoe{dig:1}  wheel  384 Mar 3 2025 src", "user"),
    "IPv4 address": ("connected to 93.184.2{dig:1}.34 port 443", "ip-address"),
    "IPv6 address": ("from 2606:2800:220:1:248:1893:25c8:194{dig:1}", "ip-address"),
    "phone, international": ("+49 170 23{dig:2}5 8{dig:2}", "phone"),
    "phone, in one piece": ("+4917023{dig:5}9", "phone"),
    "phone, American": ("(415) 867-53{dig:2}", "phone"),
    "phone, with a word": ("Phone: 0170 23{dig:2}586", "phone"),
    "phone, in JSON": ('"phone": "415-867-53{dig:2}"', "phone"),
    "card": ("card 4539 1488 0343 6467", "card"),
    "account": ("IBAN: DE89 3704 0044 0532 0130 00", "iban"),
}

_PLAIN = """
@pytest.fixture def token(): ...|git clone git@github.com:acme/shop.git|npm i left-pad@1.3.0 @types/node@20.1.2
write to bob@example.com or 12+me@users.noreply.github.com|y = a@b.T + x@w.mean()|password = "changeme"
token = get_token(request)|cd /home/user/app && ls /Users/runner|https://user:password@example.com/
secret_key = os.environ['SECRET_KEY_BASE']|icon@2x.png, sha256@deadbeef|AKIAIOSFODNN7EXAMPLE|ghp_xxxxxxxxxxxxxxxxxxxx
wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY|sk-estimator-html-representation-css|sk-your-api-key-here-please-now
hf_transfer_is_enabled_by_default_here|npm_config_registry_url_is_not_set_today|glpat-xxxxxxxxxxxxxxxxxxxx
AIzaXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX|xoxb-your-token-goes-right-here|sk_live_example_key_for_documentation
tokenizer = AutoTokenizer.from_pretrained("gpt2")|max_tokens=4096, stop_token_ids=[2]|token_type_ids = torch.zeros(2)
API_KEY = "<your key>"|api_key=settings.api_key|api_key: ${{ secrets.API_KEY }}|password: ${DB_PASSWORD}
passwords = ["hunter2", "letmein"]|def check_password(password: str) -> bool:|PASSWORD_HASHERS = [...]
Authorization: Bearer $TOKEN|Authorization: Bearer <token>|curl -u user:password https://example.com
curl -u "$USER:$PASS" x|postgres://postgres:postgres@localhost:5432/test|redis://localhost:6379/0|mongodb://user:pass@localhost
/home/ubuntu/app|/home/runner/work/shop|/Users/Shared/x|/home/vscode/.cache|/home/circleci/project|src/home/page.tsx
app/users/views.py|/api/users/list|GET /users/42|C:\\Users\\Public\\x|C:\\Users\\runneradmin\\x|/home/node/app|/home/
-Users-guide-to-shop.md is no home|git log --author=me|root@4f2a9c:/# ls|ubuntu@ip:~$ ls|user@host:~$ ls
[root@build01 ~]# ls|-rw-r--r-- 1 root root 512 Jan 1 10:00 x.py|drwxr-xr-x 2 www-data www-data 64 Mar 3 2025 y
-rw-r--r-- 1 501 20 512 Jan 1 10:00 x.py|ssh git@github.com|ssh -i key root@10.0.0.1|scp x ubuntu@host:/srv
127.0.0.1:8080|0.0.0.0|192.168.1.17|10.11.12.13|172.16.254.1|169.254.169.254|255.255.255.0|203.0.113.17|198.51.100.7
8.8.8.8|1.1.1.1|version 104.21.33.7|v23.14.12.101|package==20.21.22.23|Chrome/120.0.6099.109|1.2.3.4|OID 1.3.6.1.4.1.311
::1|fe80::1|2001:db8::17|12:34:56:78:9a:bc|std::vector::size|aa:bb:cc:dd:ee:ff|fd00::1|a::b::c|10:20:30|2024:01:02
+1 555-0100|call foo(12345678)|phone: 1234567|tel: 000-0000|+1-800-FLOWERS|-1234567890|1 + 2345678|x = +12345678901
2024-01-02 10:11:12|2024-10-11|20241011121314|1700000000|pages 123-456-7890123|ISBN 978-3-16-148410-0|3.14159265358979
line 415, column 867|10-20-3000|range(1000, 2000)|+0.123456789|1e+10|+1|@@ -118,7 +118,9 @@|1,234,567,890|0x1234567890
commit 9c1d5e7fa0b3426c8e15d7f9a2b4c6d8e0f13579|index 1f3a9c2e..7b8d0e4f 100644|md5: d41d8cd98f00b204e9800998ecf8427e
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855|integrity sha512-abcDEF012+/xyz==
123e4567-e89b-12d3-a456-426614174000|instance_id=acme__shop-8642|data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUA
eyJhbGciOiJIUzI1NiJ9 alone|eyJ0ZXN0|-----BEGIN PUBLIC KEY-----|-----BEGIN CERTIFICATE-----|ssh-rsa AAAAB3NzaC1yc2E jane
BEGIN PRIVATE KEY|"PRIVATE KEY" in text|key-value|key-board-shortcuts-in-the-editor|api-version|API-FIRST|API-REFERENCE
SKU1234|AC-DC|ACCA|ASIAN|AKIARA|live_reload|test_basket_total|test_0123456789|re_compile_pattern_again|re_match_nothing
pa-ra-me-ter|fc-list|as-is|ak-47|fw_version_is_not_set|r8_code_shrinker_rules_file|csk-layout|xai-explainability-toolkit
hvs.|hvac.Client|atlasv1.|dp.pt.|dp.get|figd_|ntn_|tfp_|aio_|aiohttp.ClientSession|sl.sort()|sl.|SG.|SG.x.y|t1.join(t2)
pul-request|pulumi.Config|sgp_|sqp_|bkua_|nfp_|napi_|vcp_|sdk-version|mob-programming|pat-na1-|patch|pattern.match
00D|SSWS|hooks.slack.com|https://hooks.slack.com/services/|discord.com/api/webhooks/|T000/B000/XXX|_mmk|-us12|en-us1
jane@acme|@jane|jane at acme.com|a@b.c|x@y.notatld|foo@bar.baz|user@example.org|test@test.com|you@your.domain
git+ssh://git@github.com/a/b|https://x.y/@user/post|user.name@localhost|self.assertEqual(a, b@c)|matmul: A@B.com()
name@1.2.3|sha1@abc.def|react@latest|@scope/pkg@npm:other@1.0|image@sha256:abcd|decorator@property.setter
token="abc"|token: str|token = "test-token-1234567890"|secret: false|SECRET = 'dummy-secret-value-123'
key=lambda x: x[1]|credential_type="service_account"|access_key_id=None|passphrase=b""
pwd=$(pwd)|PWD=/srv/app|OLDPWD=/srv|cwd=os.getcwd()
auth_token: <REDACTED>|api-key: XXXXXXXXXXXXXXXXXXXXXXXX|apikey=aaaaaaaaaaaaaaaaaaaaaaaa|token: 00000000000000000000
""".strip()
LOOK_ALIKES = [text.strip() for line in _PLAIN.split("\n") for text in line.split("|") if text.strip()]
DRAWN_LOOK_ALIKES = [
    draw(template, str(i))
    for template in ("{hex:40}", "{uuid}", "sha512-{b64:86}==", "v{dig:1}.{dig:2}.{dig:1}", "blob {hex:64}", "#{hex:6}")
    for i in range(4)
]
