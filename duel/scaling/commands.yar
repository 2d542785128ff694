/* Commands that nobody should learn, where several commands are joined: what one of them alone does is in refused_commands.toml.

   A rule is looked at where the parsed command has one of `needs` (the names of commands, "" for any), so that a text that
   is only quoted or searched for is none. The table and these rules share their reasons. */

rule download_run_unseen
{
    meta:
        reason = "a download is run unseen"
        needs = "curl wget fetch"
    strings:
        $piped = /\b(curl|wget|fetch)\b[^;\n]*\|\s*(sudo\s+(-\S+\s+)*)?(\S*\/)?(ba|da|z|k|fi)?sh(\s|$)/ nocase
        $given = /((ba|da|z|k|fi)?sh|\bsource|\beval|\.)\s+(-c\s+)?["']?[<$]?[(`]\s*(curl|wget|fetch)\b/ nocase
        $scripted = /\b(curl|wget|fetch)\b[^;\n]*\|\s*(sudo\s+)?(python[0-9.]*|perl|ruby|node)(\s+-)?\s*($|[;&\n])/ nocase
    condition:
        any of them
}

rule hidden_code_run
{
    meta:
        reason = "hidden code is run"
        needs = "base64 xxd openssl"
    strings:
        $piped = /\b(base64|xxd|openssl)\b[^|\n]*\|\s*(sudo\s+)?((\S*\/)?(ba|da|z|k|fi)?sh\b|python|perl)/ nocase
        $evaluated = /(\beval\b|-c)\s+["']?(\$\(|`)[^)`]*base64\s+(-d|--decode)/ nocase
    condition:
        any of them
}

rule shell_to_another_machine
{
    meta:
        reason = "a shell is opened to another machine"
        needs = "nc ncat netcat socat telnet"
    strings:
        $executed = /\b(nc|ncat|netcat)\b[^;\n]*\s(-\w*[ec]\b|--exec|--sh-exec)/ nocase
        $socat = /\bsocat\b[^;\n]*exec:/ nocase
        $fifo = /mkfifo[^\n]*(nc|ncat|netcat|telnet)\b/ nocase
    condition:
        any of them
}

rule shell_by_redirection
{
    meta:
        reason = "a shell is opened to another machine"
        needs = ""
    strings:
        $device = /[<>]&?\s*\/dev\/(tcp|udp)\//
    condition:
        $device
}

rule secrets_sent_away
{
    meta:
        reason = "secrets are sent away"
        needs = "curl wget nc ncat netcat"
    strings:
        $uploaded = /\b(curl|wget)\b[^;\n]*(-d|-F|-T|--data\S*|--form|--upload-file|--post-(file|data))[^;\n]*(\.ssh\/|id_(rsa|ed25519|ecdsa)|\.aws\/credentials|\/etc\/(shadow|passwd)|\.netrc|\.kube\/config|\.git-credentials|\.npmrc|\.pypirc|\.docker\/config|\/\.env\b|@\.env\b|\benv\b|\bprintenv\b)/ nocase
        $piped = /(\.ssh\/|id_(rsa|ed25519|ecdsa)|\.aws\/credentials|\/etc\/(shadow|passwd)|\.netrc|\.kube\/config|\.git-credentials|\.npmrc|\.pypirc|\.docker\/config|\/\.env\b|@\.env\b|\benv\b|\bprintenv\b)[^;\n]*\|[^;\n]*\b(curl|wget|nc|ncat|netcat)\b/ nocase
    condition:
        any of them
}

rule job_left_behind
{
    meta:
        reason = "a job is left behind"
        needs = "crontab"
    strings:
        $piped = /\|\s*crontab\s+-(\W|$)/
    condition:
        $piped
}
