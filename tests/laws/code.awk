# C source without its comments and with the contents of strings kept, each line as PATH:LINE:TEXT.
FNR == 1 { inside = 0 }
{
    out = ""; n = length($0); i = 1
    while (i <= n) {
        c = substr($0, i, 1); two = substr($0, i, 2)
        if (inside) {
            if (two == "*/") { inside = 0; i++ }
            i++
        } else if (c == "\"" || c == "'") {
            quote = c; out = out c; i++
            while (i <= n) {
                c = substr($0, i, 1); out = out c; i++
                if (c == "\\") { out = out substr($0, i, 1); i++ } else if (c == quote) break
            }
        } else if (two == "/*") {
            inside = 1; i += 2
        } else if (two == "//") {
            break
        } else {
            out = out c; i++
        }
    }
    if (out ~ /[^ \t]/) print FILENAME ":" FNR ":" out
}
