// Records what Kubernetes' own library makes of label selectors: one JSON object a line, first the label sets that all
// selectors are tried on. kube-apiserver reads the labelSelector of a list with labels.Parse
// (Convert_string_To_labels_Selector in k8s.io/apimachinery/pkg/apis/meta/v1).
//
//	go run . >selectors.jsonl
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/labels"
)

var sets = []labels.Set{
	{},
	{"tube": "checkout", "server": "eu", "state": "ready", "shard": "7"},
	{"tube": "", "a": "a", "in": "in", "notin": "notin"},
	{"a": "b", "b": "", "c": "a", "example.com/part": "a"},
	{"shard": "-7", "tube": "checkout_2.x", "a": ""},
	{"shard": "+007", "tube": "Checkout"},
	{"shard": "9223372036854775807"},
	{"shard": "9223372036854775808"},
	{"shard": "00000000000000000000000000000000000000000000000000000000008"},
	{"shard": "7x", "tube": "0x7"},
}

var (
	// two side by side, and three behind a key
	tokens = []string{"a", "in", "=", "!", ",", "(", ")", ">"}
	// three in a list of values
	listed = []string{"b", ",", ")", "in", "="}

	keys = []string{
		"tube", "in", "notin", "exists", "gt", "In", "example.com/part", "a.b_c-D", "0", "_a", "a_", "-", ".", "a/b/c",
		"/a", "a/", "/", "//", "A/b", "a_b/c", "-a/b", "a..b/c", "a./b", "a/-b", "a/b-", "é", "a/é", "é/a", "a\xffb", "a\"b", "a\\b", "a'b",
		"\u200b", "\x7f", "\x01/a", "\U0001f600", "\ufffd", "a&b", "a;b", "a:b", "a*", "[a]", "{a}", "$a", "a%20b",
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("é", 32), strings.Repeat("-", 64),
		strings.Repeat("p", 253) + "/a", strings.Repeat("p", 254) + "/a", strings.Repeat("P", 254) + "/" + strings.Repeat("-", 64),
	}
	values = []string{
		"checkout", "Checkout", "checkout_2.x", "-a", "a-", ".", "_", "a/b", "a:b", "\"a\"", "'a'", "a\\", "é", "a\xff", "\xc3", "\u00ad",
		"\u2028", "\x7f", "\v", "\u00a0", "\u3000", "in", "notin", "!", "=", "==", "(", ")", "<", "a=b", "a b", "a!b", "a>b", "a*", "$", "a+b",
		strings.Repeat("v", 63), strings.Repeat("v", 64), strings.Repeat("é", 32), strings.Repeat("_", 64),
	}
	numbers = []string{
		"6", "7", "8", "0", "-8", "+6", "-0", "007", "7.0", "1e3", "0x7", "1_0", "", "x", "٣", "²", "7x", "9223372036854775807",
		"9223372036854775808", "-9223372036854775808", "-9223372036854775809", strings.Repeat("0", 62) + "6",
		strings.Repeat("0", 63) + "6", strings.Repeat("9", 64), "6 7", "(6)", "=6", ">6", "in",
	}
	spaces = []string{" ", "\t", "\n", "\r", "\v", "\f", "\u00a0", "\u2003", "\x00", " \x00", "\x00\x00", "\x00 \x00"}
	forms  = []string{
		"tube in (checkout,b)", "tube notin(a)", "!tube", "tube!=a,shard", "shard>6", "shard<8,a", "tube==a",
	}
	picked = []string{
		"", " ", "\t\r\n", "tube=checkout,tube=checkout", "tube=checkout,tube=a", "tube in (a,a,a)", "tube,!tube", "b,a,c=a,a=b",
		"tube=checkout,state in (ready,reserved),!colour,shard>6,shard<8", "x in (foo,,baz),y,z notin ()",
		"a in (b),", "a=,b=", "a=,", "a!=,b!=", "a==", "a<", "a>,b", "!!a", "! a", "!a=b", "!a in (b)", "!a,", "a!", "a!b", "a=!b",
		"a=b!", "a=b=c", "a===b", "a!==b", "a=!=b", "a>=6", "a=>6", "a<>6", "a<<6", "a in", "a in b", "a in (b", "a in (b c)", "a in (b,c",
		"a in b)", "a in ((b))", "a in (b))", "a in (b)(c)", "a in (b) c", "a in (b)c", "a in (b),c", "a in(b)", "a  in\t( b\n,\rc )",
		"a not in (b)", "a NOTIN (b)", "a IN (b)", "a gt 6", "a lt 6", "a exists", "in in (in)", "notin notin (notin)", "in=in", "in,notin",
		"in", "!in", "in in", "in notin (in,notin)", "a in (in,notin,b)", "a=in", "a in (-,_,b)", "a in (-,-)", "a in (é,\xff,\ufffd,Z-,-a)",
		"a in (" + strings.Repeat("_", 64) + ",-,b)", "a notin (-b,b-)", "a=b, c", ", a", "a ,b", ",,", "a,,b", "a,b,", "a, ,b", "a,=b",
		"a,(b)", "a,!,b", "a,b c", "(a)", "(a=b)", "a=(b)", "a=b,c in (d", "a=b,c in (d),e!", "a=b\x00,c=d", "a=b \x00,c", "a\x00b", "\x00a", "a=\x00",
		"a\x00=\x00b\x00,\x00c\x00", "a in\x00(\x00b\x00,\x00\x00)", "a!\x00=b", "a=\x00=b", "tube=checkout;state=ready", "tube=checkout&state=ready",
		"{\"tube\":\"checkout\"}", "tube: checkout", "tube='checkout'", "tube=\"checkout\"", "tube=*", "tube=checkout/2", "a=b#c", "a\u2028=b",
		"\ufefftube=checkout", "tube＝checkout", "tube=checkout，a", "a=" + strings.Repeat("b", 300), strings.Repeat("a,", 40) + "a",
	}
)

func main() {
	lines := json.NewEncoder(os.Stdout)
	lines.SetEscapeHTML(false)
	must(lines.Encode(map[string]any{"labels": sets}))
	seen := map[string]bool{}
	for _, selector := range selectors() {
		if !seen[selector] {
			seen[selector] = true
			must(lines.Encode(made(selector)))
		}
	}
}

func selectors() (all []string) {
	all = append(all, picked...)
	all = append(all, "a", "=", "in")
	for _, one := range tokens {
		for _, two := range tokens {
			all = append(all, one+" "+two, one+two)
			for _, three := range tokens[:6] {
				all = append(all, "a "+one+two+" "+three)
			}
		}
	}
	for _, one := range listed {
		for _, two := range listed {
			for _, three := range listed {
				all = append(all, "a in ("+one+" "+two+" "+three+")")
			}
		}
	}
	for _, key := range keys {
		all = append(all, key+"=a", "!"+key+" ")
	}
	for _, value := range values {
		all = append(all, "tube="+value, "tube notin (a,"+value+")")
	}
	for _, number := range numbers {
		all = append(all, "shard>"+number, "shard< "+number)
	}
	for _, space := range spaces {
		for _, form := range forms {
			at := strings.IndexAny(form, " (!=<>")
			all = append(all, space+form, form+space, form[:at]+space+form[at:], form[:at+1]+space+form[at+1:])
		}
	}
	return all
}

type refused struct {
	Selector text `json:"selector"`
	Error    text `json:"error"`
}

type understood struct {
	Selector text   `json:"selector"`
	String   string `json:"string"`
	Matches  []int  `json:"matches"`
}

func made(selector string) any {
	parsed, err := labels.Parse(selector)
	if err != nil {
		return refused{text(selector), text(err.Error())}
	}
	matches := []int{}
	for at, set := range sets {
		if parsed.Matches(set) {
			matches = append(matches, at)
		}
	}
	return understood{text(selector), parsed.String(), matches}
}

// text is a string in JSON's ASCII, in which bytes that aren't UTF-8 become lone surrogates, as in Python (PEP 383).
type text string

func (t text) MarshalJSON() ([]byte, error) {
	var written bytes.Buffer
	written.WriteByte('"')
	for rest := string(t); rest != ""; {
		char, size := utf8.DecodeRuneInString(rest)
		switch {
		case char == utf8.RuneError && size == 1:
			fmt.Fprintf(&written, `\udc%02x`, rest[0])
		case char == '"' || char == '\\':
			fmt.Fprintf(&written, `\%c`, char)
		case ' ' <= char && char <= '~':
			written.WriteRune(char)
		default:
			for _, unit := range utf16.AppendRune(nil, char) {
				fmt.Fprintf(&written, `\u%04x`, unit)
			}
		}
		rest = rest[size:]
	}
	written.WriteByte('"')
	return written.Bytes(), nil
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
