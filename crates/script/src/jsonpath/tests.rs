//! Owns the tests of the JSONPath engine: tables of cases, a naive second evaluator, random expressions.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use serde_json::{Value, json};

use super::{JsonPath, Problem};
use crate::limits::{EXPRESSION_BYTES_MAX, NESTING_MAX, SEGMENTS_MAX};

const STORE: &str = r#"{"store":{"book":[
    {"category":"reference","author":"Rees","title":"Sayings","price":8.95},
    {"category":"fiction","author":"Waugh","title":"Sword","price":12.99},
    {"category":"fiction","author":"Melville","title":"Moby","isbn":"0-553","price":8.99},
    {"category":"fiction","author":"Tolkien","title":"Rings","isbn":"0-395","price":22.99}],
    "bicycle":{"color":"red","price":399}}}"#;
const LETTERS: &str = r#"["a","b","c","d","e","f","g"]"#;
const MIXED: &str = r#"{"a":[3,5,1,2,4,6,{"b":"j"},{"b":"k"},{"b":{}},{"b":"kilo"}],
    "o":{"p":1,"q":2,"r":3,"s":5,"t":{"u":6}},"e":"f"}"#;
const COMPARED: &str = r#"{"obj":{"x":"y"},"arr":[2,3]}"#;
const TEXTS: &str = r#"[{"t":"1974-05-11"},{"t":"x1974-05-01"},{"t":"1974-06-01"},{"t":5},{"u":"1974-05-02"}]"#;
const TYPES: &str = r#"[null,true,false,0,-1,1.5,"","a","é","😀",[],[1],{},{"a":1}]"#;

/// Document, expression, what it selects.
#[rustfmt::skip]
const SELECTED: &[(&str, &str, &str)] = &[
    // Names, wildcards, descendants over the standard's store.
    (STORE, "$.store.book[*].author", r#"["Rees","Waugh","Melville","Tolkien"]"#),
    (STORE, "$..author", r#"["Rees","Waugh","Melville","Tolkien"]"#),
    (STORE, "$.store..price", r#"[399,8.95,12.99,8.99,22.99]"#),
    (STORE, "$..book[2].author", r#"["Melville"]"#),
    (STORE, "$..book[2].publisher", "[]"),
    (STORE, "$..book[-1].title", r#"["Rings"]"#),
    (STORE, "$..book[0,1].title", r#"["Sayings","Sword"]"#),
    (STORE, "$..book[:2].title", r#"["Sayings","Sword"]"#),
    (STORE, "$..book[?@.isbn].title", r#"["Moby","Rings"]"#),
    (STORE, "$..book[?@.price<10].title", r#"["Sayings","Moby"]"#),
    (STORE, "$.store.book[?@.price == $.store.book[0].price].title", r#"["Sayings"]"#),
    (STORE, "$.store['bicycle']['color']", r#"["red"]"#),
    (STORE, "$ .store\n[ 'bicycle' ] \t.color", r#"["red"]"#),
    (STORE, "$.store.book[?@.category == 'fiction' && @.price > 10].author", r#"["Waugh","Tolkien"]"#),
    (STORE, "$.store.book[?count(@.*) == 5].author", r#"["Melville","Tolkien"]"#),
    (STORE, "$.store.book[?length(@.title) == 4].author", r#"["Melville"]"#),
    (STORE, "$[?($.store.bicycle.price==399)].bicycle.color", r#"["red"]"#),
    (STORE, "$[?($.store.bicycle.price==398)].bicycle.color", "[]"),
    // The root and names.
    ("5", "$", "[5]"),
    ("{\"a\":1}", "$", "[{\"a\":1}]"),
    ("[1]", "$.a", "[]"),
    ("5", "$.a", "[]"),
    ("{\"a\":null}", "$.a", "[null]"),
    ("{\"a\":null}", "$.a[0]", "[]"),
    ("{\"a\":null}", "$.a.d", "[]"),
    ("{\"a\":null,\"b\":[null]}", "$.b[0]", "[null]"),
    ("{\"a\":null,\"b\":[null]}", "$.b[*]", "[null]"),
    ("{\"a\":null,\"b\":[null]}", "$.b[?@]", "[null]"),
    ("{\"a\":null,\"b\":[null]}", "$.b[?@==null]", "[null]"),
    ("{\"a\":null}", "$[?@.d==null]", "[]"),
    ("{\"null\":1}", "$.null", "[1]"),
    ("{\"o\":{\"j j\":{\"k.k\":3}},\"'\":{\"@\":2}}", "$.o['j j']", "[{\"k.k\":3}]"),
    ("{\"o\":{\"j j\":{\"k.k\":3}},\"'\":{\"@\":2}}", "$.o['j j']['k.k']", "[3]"),
    ("{\"o\":{\"j j\":{\"k.k\":3}},\"'\":{\"@\":2}}", "$.o[\"j j\"][\"k.k\"]", "[3]"),
    ("{\"o\":1,\"'\":{\"@\":2}}", "$[\"'\"][\"@\"]", "[2]"),
    ("{\"\":7}", "$['']", "[7]"),
    ("{\"é\":7}", "$.é", "[7]"),
    ("{\"é\":7}", r"$['\u00e9']", "[7]"),
    ("{\"é\":7}", r"$['\u00E9']", "[7]"),
    ("{\"😀\":7}", r"$['\uD83D\uDE00']", "[7]"),
    ("{\"😀\":7}", "$.😀", "[7]"),
    ("{\"_a1\":7}", "$._a1", "[7]"),
    ("{\"a'b\":7}", r"$['a\'b']", "[7]"),
    ("{\"a\\\"b\":7}", "$[\"a\\\"b\"]", "[7]"),
    ("{\"a\\\"b\":7}", "$['a\"b']", "[7]"),
    ("{\"a/b\\\\c\":7}", r"$['a\/b\\c']", "[7]"),
    ("{\"\\b\\f\\n\\r\\t\":7}", r"$['\b\f\n\r\t']", "[7]"),
    ("{\"\\u0000\":7}", r"$['\u0000']", "[7]"),
    ("{\"true\":1,\"and\":2}", "$.true", "[1]"),
    ("{\"a\":1,\"b\":2}", "$['a','b','a']", "[1,2,1]"),
    ("{\"a\":1,\"b\":2}", "$['c','b']", "[2]"),
    // Wildcards.
    ("{\"o\":{\"j\":1,\"k\":2},\"a\":[5,3]}", "$[*]", "[[5,3],{\"j\":1,\"k\":2}]"),
    ("{\"o\":{\"j\":1,\"k\":2},\"a\":[5,3]}", "$.o[*]", "[1,2]"),
    ("{\"o\":{\"j\":1,\"k\":2},\"a\":[5,3]}", "$.o[*, *]", "[1,2,1,2]"),
    ("{\"o\":{\"j\":1,\"k\":2},\"a\":[5,3]}", "$.a.*", "[5,3]"),
    ("5", "$.*", "[]"),
    // Indices.
    (LETTERS, "$[1]", r#"["b"]"#),
    (LETTERS, "$[-2]", r#"["f"]"#),
    (LETTERS, "$[7]", "[]"),
    (LETTERS, "$[-8]", "[]"),
    (LETTERS, "$[0, 3]", r#"["a","d"]"#),
    (LETTERS, "$[0:2, 5]", r#"["a","b","f"]"#),
    (LETTERS, "$[0, 0]", r#"["a","a"]"#),
    (LETTERS, "$[9007199254740991]", "[]"),
    (LETTERS, "$[-9007199254740991]", "[]"),
    ("{\"0\":1}", "$[0]", "[]"),
    // Slices.
    (LETTERS, "$[1:3]", r#"["b","c"]"#),
    (LETTERS, "$[5:]", r#"["f","g"]"#),
    (LETTERS, "$[1:5:2]", r#"["b","d"]"#),
    (LETTERS, "$[5:1:-2]", r#"["f","d"]"#),
    (LETTERS, "$[::-1]", r#"["g","f","e","d","c","b","a"]"#),
    (LETTERS, "$[:]", r#"["a","b","c","d","e","f","g"]"#),
    (LETTERS, "$[::]", r#"["a","b","c","d","e","f","g"]"#),
    (LETTERS, "$[::0]", "[]"),
    (LETTERS, "$[1:5:0]", "[]"),
    (LETTERS, "$[-2:]", r#"["f","g"]"#),
    (LETTERS, "$[:-5]", r#"["a","b"]"#),
    (LETTERS, "$[-3:-1]", r#"["e","f"]"#),
    (LETTERS, "$[-100:2]", r#"["a","b"]"#),
    (LETTERS, "$[5:100]", r#"["f","g"]"#),
    (LETTERS, "$[100:0:-3]", r#"["g","d"]"#),
    (LETTERS, "$[2::-1]", r#"["c","b","a"]"#),
    (LETTERS, "$[:4:-1]", r#"["g","f"]"#),
    (LETTERS, "$[-1:-4:-1]", r#"["g","f","e"]"#),
    (LETTERS, "$[3:1]", "[]"),
    (LETTERS, "$[1 : 5 : 2]", r#"["b","d"]"#),
    (LETTERS, "$[::9007199254740991]", r#"["a"]"#),
    (LETTERS, "$[::-9007199254740991]", r#"["g"]"#),
    (LETTERS, "$[-9007199254740991:9007199254740991]", r#"["a","b","c","d","e","f","g"]"#),
    ("[]", "$[::-1]", "[]"),
    ("[]", "$[0:1]", "[]"),
    ("{\"a\":1}", "$[0:1]", "[]"),
    // Descendants.
    ("{\"o\":{\"j\":1,\"k\":2},\"a\":[5,3,[{\"j\":4},{\"k\":6}]]}", "$..j", "[4,1]"),
    ("{\"o\":{\"j\":1,\"k\":2},\"a\":[5,3,[{\"j\":4},{\"k\":6}]]}", "$..[0]", "[5,{\"j\":4}]"),
    ("{\"o\":{\"j\":1},\"a\":[5]}", "$..[*]", "[[5],{\"j\":1},5,1]"),
    ("{\"o\":{\"j\":1},\"a\":[5]}", "$..*", "[[5],{\"j\":1},5,1]"),
    ("{\"o\":{\"j\":1}}", "$..o", "[{\"j\":1}]"),
    ("{\"o\":{\"j\":1,\"k\":2}}", "$.o..[*, *]", "[1,2,1,2]"),
    ("{\"a\":[5,3,[{\"j\":4},{\"k\":6}]]}", "$.a..[0, 1]", "[5,3,{\"j\":4},{\"k\":6}]"),
    ("[[[1]]]", "$..[0]..[0]", "[[1],1,1]"),
    ("5", "$..*", "[]"),
    // Existence.
    (MIXED, "$.a[?@.b]", r#"[{"b":"j"},{"b":"k"},{"b":{}},{"b":"kilo"}]"#),
    (MIXED, "$[?@.*]", r#"[[3,5,1,2,4,6,{"b":"j"},{"b":"k"},{"b":{}},{"b":"kilo"}],{"p":1,"q":2,"r":3,"s":5,"t":{"u":6}}]"#),
    (MIXED, "$[?@[?@.b]]", r#"[[3,5,1,2,4,6,{"b":"j"},{"b":"k"},{"b":{}},{"b":"kilo"}]]"#),
    (MIXED, "$.o[?@<3, ?@<3]", "[1,2,1,2]"),
    (MIXED, "$.a[?@<2 || @.b == \"k\"]", r#"[1,{"b":"k"}]"#),
    (MIXED, "$.a[?match(@.b, \"[jk]\")]", r#"[{"b":"j"},{"b":"k"}]"#),
    (MIXED, "$.a[?search(@.b, \"[jk]\")]", r#"[{"b":"j"},{"b":"k"},{"b":"kilo"}]"#),
    (MIXED, "$.o[?@>1 && @<4]", "[2,3]"),
    (MIXED, "$.o[?@.u || @.x]", r#"[{"u":6}]"#),
    (MIXED, "$.a[?@.b == $.x]", "[3,5,1,2,4,6]"),
    (MIXED, "$.a[?@ == @]", r#"[3,5,1,2,4,6,{"b":"j"},{"b":"k"},{"b":{}},{"b":"kilo"}]"#),
    (MIXED, "$.a[?@.b == 'kilo']", r#"[{"b":"kilo"}]"#),
    (MIXED, "$.a[?(@.b == 'kilo')]", r#"[{"b":"kilo"}]"#),
    (MIXED, "$.a[?@>3.5]", "[5,4,6]"),
    (MIXED, "$.a[?!@.b]", "[3,5,1,2,4,6]"),
    (MIXED, "$.a[? ! ( @.b || @ > 2 ) ]", "[1,2]"),
    (MIXED, "$.o[?@==1 || @==2 && @==3]", "[1]"),
    (MIXED, "$.o[?(@==1 || @==2) && @<2]", "[1]"),
    (MIXED, "$.o[?!!@]", "ERROR"),
    (MIXED, "$[?$.e=='f'].p", "[1]"),
    (MIXED, "$[?$.e=='g'].p", "[]"),
    (MIXED, "$[?$.a[?@.b=='k']].p", "[1]"),
    (MIXED, "$.a[?@.b == $.a[7]['b']]", r#"[{"b":"k"}]"#),
    (MIXED, "$.a[?@ == $['a'][0]]", "[3]"),
    // The standard's table of comparisons: a document is filtered by a test that does not look at its children.
    (COMPARED, "$[?$.absent1 == $.absent2].x", r#"["y"]"#),
    (COMPARED, "$[?$.absent1 <= $.absent2].x", r#"["y"]"#),
    (COMPARED, "$[?$.absent == 'g'].x", "[]"),
    (COMPARED, "$[?$.absent1 != $.absent2].x", "[]"),
    (COMPARED, "$[?$.absent1 < $.absent2].x", "[]"),
    (COMPARED, "$[?$.absent != 'g'].x", r#"["y"]"#),
    (COMPARED, "$[?1 <= 2].x", r#"["y"]"#),
    (COMPARED, "$[?1 > 2].x", "[]"),
    (COMPARED, "$[?13 == '13'].x", "[]"),
    (COMPARED, "$[?'a' <= 'b'].x", r#"["y"]"#),
    (COMPARED, "$[?'a' > 'b'].x", "[]"),
    (COMPARED, "$[?$.obj == $.arr].x", "[]"),
    (COMPARED, "$[?$.obj != $.arr].x", r#"["y"]"#),
    (COMPARED, "$[?$.obj == $.obj].x", r#"["y"]"#),
    (COMPARED, "$[?$.obj != $.obj].x", "[]"),
    (COMPARED, "$[?$.arr == $.arr].x", r#"["y"]"#),
    (COMPARED, "$[?$.arr != $.arr].x", "[]"),
    (COMPARED, "$[?$.obj == 17].x", "[]"),
    (COMPARED, "$[?$.obj != 17].x", r#"["y"]"#),
    (COMPARED, "$[?$.obj <= $.arr].x", "[]"),
    (COMPARED, "$[?$.obj < $.arr].x", "[]"),
    (COMPARED, "$[?$.obj <= $.obj].x", r#"["y"]"#),
    (COMPARED, "$[?$.arr <= $.arr].x", r#"["y"]"#),
    (COMPARED, "$[?1 <= $.arr].x", "[]"),
    (COMPARED, "$[?1 >= $.arr].x", "[]"),
    (COMPARED, "$[?1 > $.arr].x", "[]"),
    (COMPARED, "$[?1 < $.arr].x", "[]"),
    (COMPARED, "$[?true <= true].x", r#"["y"]"#),
    (COMPARED, "$[?true > true].x", "[]"),
    (COMPARED, "$[?true < false].x", "[]"),
    // Numbers and texts.
    (TYPES, "$[?@==null]", "[null]"),
    (TYPES, "$[?@==true]", "[true]"),
    (TYPES, "$[?@==false]", "[false]"),
    (TYPES, "$[?@==0]", "[0]"),
    (TYPES, "$[?@==-0]", "[0]"),
    (TYPES, "$[?@==0.0]", "[0]"),
    (TYPES, "$[?@==-1.0]", "[-1]"),
    (TYPES, "$[?@==15e-1]", "[1.5]"),
    (TYPES, "$[?@==0.15E+1]", "[1.5]"),
    (TYPES, "$[?@<0]", "[-1]"),
    (TYPES, "$[?@>=0]", "[0,1.5]"),
    (TYPES, "$[?@<'b']", r#"["","a"]"#),
    (TYPES, "$[?@>'é']", r#"["😀"]"#),
    (TYPES, "$[?@=='']", r#"[""]"#),
    (TYPES, "$[?length(@)==1]", r#"["a","é","😀",[1],{"a":1}]"#),
    (TYPES, "$[?length(@)==0]", r#"["",[],{}]"#),
    (TYPES, "$[?length(@)<0.5]", r#"["",[],{}]"#),
    (TYPES, "$[?length(@)==$.nothing]", "[null,true,false,0,-1,1.5]"),
    (TYPES, "$[?count(@.*)==1]", r#"[[1],{"a":1}]"#),
    (TYPES, "$[?count(@['a','a'])==2]", r#"[{"a":1}]"#),
    (TYPES, "$[?value(@.*)==1]", r#"[[1],{"a":1}]"#),
    (TYPES, "$[?length(value(@..a))==$.x]", r#"[null,true,false,0,-1,1.5,"","a","é","😀",[],[1],{},{"a":1}]"#),
    (TYPES, "$[?length('abc')==3][0]", "[1]"),
    (TYPES, "$[?@[0]==1]", "[[1]]"),
    ("[[1,1.0],[1.0,1],[1,2]]", "$[?@==$[0]]", "[[1,1.0],[1.0,1]]"),
    ("[{\"a\":1,\"b\":[2]},{\"b\":[2.0],\"a\":1},{\"a\":1}]", "$[?@==$[0]]", "[{\"a\":1,\"b\":[2]},{\"b\":[2.0],\"a\":1}]"),
    ("[9007199254740993,9007199254740992]", "$[?@>$[1]]", "[9007199254740993]"),
    ("[18446744073709551615,-9223372036854775808]", "$[?@>0]", "[18446744073709551615]"),
    ("[[1,2],[3]]", "$[?value(@[*])==3]", "[[3]]"),
    ("[[1,2],[3]]", "$[?value(@[*])==$.x]", "[[1,2]]"),
    // Regular expressions.
    (TEXTS, "$[?match(@.t, '1974-05-..')]", r#"[{"t":"1974-05-11"}]"#),
    (TEXTS, "$[?search(@.t, '1974-05-..')]", r#"[{"t":"1974-05-11"},{"t":"x1974-05-01"}]"#),
    (TEXTS, "$[?!match(@.t, '.*')]", r#"[{"t":5},{"u":"1974-05-02"}]"#),
    (TEXTS, "$[?match(@.t, 5)]", "[]"),
    (TEXTS, "$[?match('a', 'a')].u", r#"["1974-05-02"]"#),
    (TEXTS, "$[?search(@.t, '(06|07)')]", r#"[{"t":"1974-06-01"}]"#),
    (TEXTS, "$[?match(@.t, 'x?1974-0[5].*') && search(@.t,'x')]", r#"[{"t":"x1974-05-01"}]"#),
    (TEXTS, r"$[?match(@.t, '\\d{4}-06-\\d+')]", r#"[{"t":"1974-06-01"}]"#),
    (TEXTS, r"$[?match(@.t, '\\p{Nd}{4}-06-01')]", r#"[{"t":"1974-06-01"}]"#),
    (r#"[{"a":"ab","p":"a."},{"a":"ab","p":"b"},{"a":"ab","p":"["},{"a":"ab"}]"#, "$[?match(@.a, @.p)].p", r#"["a."]"#),
    (r#"[{"a":"ab","p":"a."},{"a":"ab","p":"b"},{"a":"ab","p":"["},{"a":"ab"}]"#, "$[?search(@.a, @.p)].p", r#"["a.","b"]"#),
    (r#"["a\nb","a\rb","a\u2028b","axb"]"#, "$[?match(@, 'a.b')]", r#"["a\u2028b","axb"]"#),
    (r#"["ab","b"]"#, "$[?match(@, 'a|b')]", r#"["b"]"#),
    (r#"["a","A"]"#, "$[?match(@, 'a')]", r#"["a"]"#),
];

/// Expressions that are refused, and the byte that is named.
#[rustfmt::skip]
const REFUSED: &[(&str, usize)] = &[
    ("", 0), (" $", 0), ("$ ", 1), ("@", 0), ("a", 0), ("$a", 1), ("$.", 2), ("$..", 3), ("$. a", 2), ("$.. a", 3),
    ("$...a", 3), ("$.1", 2), ("$.-a", 2), ("$.a-b", 3), ("$.'a'", 2), ("$.[0]", 2), ("$.&", 2), ("$.a.", 4),
    ("$[", 2), ("$[]", 2), ("$['a'", 5), ("$['a]", 5), ("$['a',]", 6), ("$[,]", 2), ("$['a' 'b']", 6), ("$[a]", 2),
    ("$[\"a']", 6), ("$['\\a']", 3), ("$['\\\"']", 3), ("$[\"\\'\"]", 3), ("$['\u{1}']", 3), ("$['\\u12']", 3),
    ("$['\\ud800']", 3), ("$['\\ud800\\u0041']", 3), ("$['\\udc00']", 3), ("$['\\x41']", 3), ("$['\\u00g0']", 3),
    ("$[01]", 2), ("$[-0]", 2), ("$[-01]", 2), ("$[1.0]", 3), ("$[1e2]", 3), ("$[-]", 3), ("$[+1]", 2), ("$[- 1]", 3),
    ("$[9007199254740992]", 2), ("$[-9007199254740992]", 2), ("$[99999999999999999999]", 2),
    ("$[1:2:3:4]", 7), ("$[:-0]", 3), ("$[::01]", 4), ("$[1:2:9007199254740992]", 6), ("$[?]", 3), ("$[?@.a", 6),
    ("$[?()]", 4), ("$[?(@.a]", 7), ("$[?@.a)]", 6), ("$[?@.a==]", 8), ("$[?==1]", 3), ("$[?@.a=1]", 6),
    ("$[?@.a===1]", 8), ("$[?@.a==1==2]", 9), ("$[?@.a&&]", 8), ("$[?@.a||]", 8), ("$[?@.a&@.b]", 6),
    ("$[?@.a and @.b]", 7), ("$[?1]", 3), ("$[?'a']", 3), ("$[?true]", 3), ("$[?null]", 3), ("$[?!true]", 4),
    ("$[?@.*==1]", 3), ("$[?@..a==1]", 3), ("$[?@[0:1]==1]", 3), ("$[?@['a','b']==1]", 3), ("$[?1==@.*]", 6),
    ("$[?@[?@.a]==1]", 3), ("$[?(@.a)==1]", 8), ("$[?!@.a==1]", 7), ("$[?True==1]", 3), ("$[?nul==1]", 3),
    ("$[?@==01]", 6), ("$[?@==-]", 7), ("$[?@==1.]", 8), ("$[?@==.1]", 6), ("$[?@==1e]", 8), ("$[?@==+1]", 6),
    ("$[?@==1e999]", 6), ("$[?@==9007199254740992]", 6), ("$[?@==0x1]", 7), ("$[?@=={}]", 6), ("$[?@==[]]", 6),
    ("$[?length(@.a)]", 3), ("$[?count(@.*)]", 3), ("$[?value(@.a)]", 3), ("$[?length()==1]", 3),
    ("$[?length(@.a,@.b)==1]", 3), ("$[?length(@.*)==1]", 10), ("$[?count(1)==1]", 9), ("$[?count('a')==1]", 9),
    ("$[?count(true)==1]", 9), ("$[?count()==1]", 3), ("$[?count(length(@.a))==1]", 9), ("$[?value(1)==1]", 9),
    ("$[?match(@.a)]", 3), ("$[?match(@.a,'a','b')]", 3), ("$[?match(@.a,'a')==true]", 3), ("$[?match(@.*,'a')]", 9),
    ("$[?search(@.a,@.*)]", 14), ("$[?true==match(@.a,'a')]", 9), ("$[?match(@.a,'[')]", 13),
    ("$[?search(@.a,'a)(b')]", 14), ("$[?length(match(@.a,'a'))==1]", 10), ("$[?unknown(@.a)]", 3), ("$[?Length(@.a)==1]", 3),
    ("$[?length (@.a)==1]", 3), ("$[?length(@.a]", 13), ("$[?count(@.a==1)==1]", 12), ("$['a'].['b']", 7), ("$['a']b", 6),
    ("$.store.book[?(@.length-1)]", 23), ("$[(@.length-1)]", 2), ("$.a[?@.b == 'x' ]]", 17), ("$$", 1), ("$[?@.a == b]", 10),
];

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn select(text: &str, root: &Value) -> Vec<Value> {
    JsonPath::compile(text).unwrap().query(root).unwrap().into_iter().cloned().collect()
}

#[test]
fn the_tables_are_as_large_as_they_should_be() {
    assert!(SELECTED.len() + REFUSED.len() >= 150, "{} + {}", SELECTED.len(), REFUSED.len());
}

#[test]
fn expressions_select_what_the_standard_says() {
    for (root, text, wanted) in SELECTED {
        let root = document(root);
        let path = match JsonPath::compile(text) {
            Ok(path) => path,
            Err(error) => {
                assert_eq!(*wanted, "ERROR", "{text}: {error}");
                continue;
            }
        };
        let selected: Vec<Value> = path.query(&root).unwrap().into_iter().cloned().collect();
        assert_eq!(Value::Array(selected.clone()), document(wanted), "{text}");
        assert_eq!(path.matches(&root), !selected.is_empty(), "{text}");
    }
}

#[test]
fn wrong_expressions_are_refused_at_the_right_place() {
    for (text, at) in REFUSED {
        let error = JsonPath::compile(text).expect_err(text);
        assert_eq!(error.at, *at, "{text}: {error}");
    }
}

#[test]
fn the_message_shows_where() {
    let error = JsonPath::compile("$.value[?@.price < ]").unwrap_err();
    assert_eq!((error.at, error.excerpt.as_str()), (19, "]"));
    let text = error.to_string();
    assert!(text.starts_with("JSONPath is not valid at byte 19: expected a literal"), "{text}");
    assert!(text.ends_with("near \"]\""), "{text}");
    assert!(JsonPath::compile("$[?@.a").unwrap_err().to_string().ends_with("at its end"));
    let error = JsonPath::compile("$[?match(@.a, 'a{2000}{2000}')]").unwrap_err();
    assert!(matches!(error.problem, Problem::Pattern { .. }), "{error}");
    let error = JsonPath::compile("$[?lenght(@.a) == 1]").unwrap_err();
    assert_eq!(error.problem, Problem::UnknownFunction { name: "lenght".into() });
}

#[test]
fn sizes_are_bounded() {
    let long = format!("$['{}']", "a".repeat(EXPRESSION_BYTES_MAX));
    assert!(matches!(JsonPath::compile(&long).unwrap_err().problem, Problem::TooLong { .. }));
    let nested = format!("$[?{}@{}]", "(".repeat(500), ")".repeat(500));
    assert!(matches!(JsonPath::compile(&nested).unwrap_err().problem, Problem::TooDeep { .. }));
    let filters = format!("${}1", "[?@".repeat(500));
    assert!(matches!(JsonPath::compile(&filters).unwrap_err().problem, Problem::TooDeep { .. }));
    let calls = format!("$[?{}@{}==1]", "length(".repeat(500), ")".repeat(500));
    assert!(matches!(JsonPath::compile(&calls).unwrap_err().problem, Problem::TooDeep { .. }));
    let many = format!("${}", ".a".repeat(SEGMENTS_MAX + 1));
    assert!(matches!(JsonPath::compile(&many).unwrap_err().problem, Problem::TooManySegments { .. }));
    assert!(JsonPath::compile(&format!("${}", ".a".repeat(SEGMENTS_MAX))).is_ok());
}

#[test]
fn the_largest_expressions_fit_a_small_stack() {
    let filters = format!("$..[?@{}{}", "[*][?@..[*]".repeat(NESTING_MAX - 1), "]".repeat(NESTING_MAX));
    let parentheses = format!("$[?{}@.a{}]", "(".repeat(NESTING_MAX - 1), ")".repeat(NESTING_MAX - 1));
    let steps = format!("${}", "[*]".repeat(SEGMENTS_MAX));
    let descents = format!("${}", "..a".repeat(SEGMENTS_MAX));
    let mut root = json!({ "a": [1, 2] });
    for _ in 0..SEGMENTS_MAX {
        root = json!({ "a": [root] });
    }
    let walk = move || {
        for text in [filters, parentheses, steps, descents] {
            let path = JsonPath::compile(&text).unwrap();
            let _ = path.query(&root);
            path.matches(&root);
        }
    };
    std::thread::Builder::new().stack_size(1024 * 1024).spawn(walk).unwrap().join().unwrap();
}

#[test]
fn a_search_without_end_is_given_up() {
    let root = Value::Array(vec![json!([1, 2, 3, 4, 5, 6, 7, 8]); 50]);
    assert!(JsonPath::compile("$..[?@ == 1 || count($..*) == 0]").unwrap().try_matches(&root).unwrap());
    let path = JsonPath::compile("$..[?count($..*) == count($..[?count($..*) == 0])]").unwrap();
    assert!(path.try_matches(&root).is_err());
    assert!(!path.matches(&root));
    assert!(path.query(&root).unwrap_err().to_string().contains("1000000"));
    let explode = JsonPath::compile(&format!("${}", "[*,*]".repeat(60))).unwrap();
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = Value::Array(vec![deep]);
    }
    assert!(explode.query(&deep).is_err());
}

#[test]
fn a_negation_inside_an_unfinished_search_does_not_match() {
    // Giving up must not turn into "true" under `!`.
    let root = Value::Array(vec![json!([1, 2, 3, 4, 5, 6, 7, 8]); 50]);
    let path = JsonPath::compile("$[?!@..[?count($..*) == count($..[?count($..*) == 0])]]").unwrap();
    assert!(!path.matches(&root));
}

#[test]
fn long_texts_and_patterns_from_the_data_count_as_work() {
    let text = "a".repeat(1_000_000);
    let root = json!({ "t": text, "items": vec![0; 1000] });
    let path = JsonPath::compile("$.items[?length($.t) == 1 && @ == 0]").unwrap();
    assert!(!path.matches(&root));
    let path = JsonPath::compile("$.items[?@ == 1 || length($.t) == 1]").unwrap();
    assert!(path.try_matches(&root).is_err());
    let evil = json!(["a".repeat(30) + "b"]);
    assert!(!JsonPath::compile("$[?match(@, '(a*)*c')]").unwrap().matches(&evil));
    assert!(!JsonPath::compile("$[?match(@, '(a|aa)+')]").unwrap().matches(&evil));
}

#[test]
fn documents_deeper_than_the_stack_are_walked() {
    let mut deep = json!({ "leaf": 1 });
    for _ in 0..100_000 {
        deep = Value::Array(vec![deep]);
    }
    assert_eq!(select("$..leaf", &deep), [json!(1)]);
    assert!(JsonPath::compile("$[?@ == $[0]]").unwrap().matches(&deep));
    // The standard library drops nested values by recursion; this takes them apart one by one.
    while let Value::Array(mut elements) = deep {
        deep = elements.pop().unwrap();
    }
}

/// A second evaluator, as simple as can be, for a part of the language.
fn naive(root: &Value, steps: &[NaiveStep]) -> Vec<Value> {
    let mut nodes = vec![root.clone()];
    for step in steps {
        nodes = nodes.iter().flat_map(|node| step.apply(node)).collect();
    }
    nodes
}

#[derive(Clone, Debug)]
enum NaiveStep {
    Name(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Wildcard,
    Equals(String, i64),
    Descend(Box<NaiveStep>),
}

impl NaiveStep {
    fn apply(&self, node: &Value) -> Vec<Value> {
        match (self, node) {
            (Self::Name(name), Value::Object(members)) => members.get(name).cloned().into_iter().collect(),
            (Self::Index(index), Value::Array(elements)) => {
                let length = elements.len() as i64;
                let at = if *index < 0 { length + index } else { *index };
                usize::try_from(at).ok().and_then(|at| elements.get(at)).cloned().into_iter().collect()
            }
            (Self::Slice(start, end, step), Value::Array(elements)) => naive_slice(elements, *start, *end, *step),
            (Self::Wildcard, _) => children(node),
            (Self::Equals(name, value), _) => children(node)
                .into_iter()
                .filter(|child| child.get(name).is_some_and(|it| *it == json!(value)))
                .collect(),
            (Self::Descend(step), _) => {
                let mut selected = step.apply(node);
                selected.extend(children(node).iter().flat_map(|child| self.apply(child)));
                selected
            }
            _ => Vec::new(),
        }
    }

    fn text(&self) -> String {
        let bound = |bound: &Option<i64>| bound.map_or(String::new(), |bound| bound.to_string());
        match self {
            Self::Name(name) => format!("['{name}']"),
            Self::Index(index) => format!("[{index}]"),
            Self::Slice(start, end, step) => format!("[{}:{}:{step}]", bound(start), bound(end)),
            Self::Wildcard => "[*]".to_owned(),
            Self::Equals(name, value) => format!("[?@.{name} == {value}]"),
            Self::Descend(step) => format!("..{}", step.text()),
        }
    }
}

fn children(node: &Value) -> Vec<Value> {
    match node {
        Value::Array(elements) => elements.clone(),
        Value::Object(members) => members.values().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The standard's own algorithm for slices, index by index.
fn naive_slice(elements: &[Value], start: Option<i64>, end: Option<i64>, step: i64) -> Vec<Value> {
    let length = elements.len() as i64;
    let normal = |index: i64| if index >= 0 { index } else { length + index };
    let mut selected = Vec::new();
    if step > 0 {
        let mut at = normal(start.unwrap_or(0)).max(0).min(length);
        let upper = normal(end.unwrap_or(length)).max(0).min(length);
        while at < upper {
            selected.push(elements[usize::try_from(at).unwrap()].clone());
            at += step;
        }
    } else if step < 0 {
        let mut at = normal(start.unwrap_or(length - 1)).max(-1).min(length - 1);
        let lower = normal(end.unwrap_or(-length - 1)).max(-1).min(length - 1);
        while at > lower {
            selected.push(elements[usize::try_from(at).unwrap()].clone());
            at += step;
        }
    }
    selected
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

fn steps() -> impl Strategy<Value = NaiveStep> {
    let bound = || prop::option::of(-7i64..8);
    let plain = prop_oneof![
        "[a-c]".prop_map(NaiveStep::Name),
        (-5i64..6).prop_map(NaiveStep::Index),
        (bound(), bound(), -3i64..4).prop_map(|(start, end, step)| NaiveStep::Slice(start, end, step)),
        Just(NaiveStep::Wildcard),
        ("[a-c]", -3i64..4).prop_map(|(name, value)| NaiveStep::Equals(name, value)),
    ];
    (plain, any::<bool>()).prop_map(|(step, descend)| if descend { NaiveStep::Descend(Box::new(step)) } else { step })
}

/// Text that looks like an expression more often than not.
fn expressions() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "$", "@", ".", "..", "*", "[", "]", "?", "(", ")", "!", "&&", "||", "==", "!=", "<", "<=", ">", ">=", ",", ":",
        "'a'", "\"b\"", "a", "b", "c", "0", "1", "-1", "2.5e3", "true", "null", "length(", "count(", "value(",
        "match(", "search(", " ", "\\u00e9", "'[a-c]*'", "[?@.a", "[?@", "é", "\n", "[0]", ".a", "[*]", "..b", "@.a",
        "$.a", "1]", "]",
    ]);
    prop_oneof![prop::collection::vec(pieces, 0..24).prop_map(|pieces| format!("${}", pieces.concat())), ".{0,40}",]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_expressions_neither_panic_nor_hang(text in expressions(), root in values()) {
        if let Ok(path) = JsonPath::compile(&text) {
            let selected = path.query(&root).map(|nodes| nodes.len());
            assert_eq!(path.matches(&root), selected.is_ok_and(|count| count > 0));
        }
    }

    #[test]
    fn random_queries_select_what_the_naive_evaluator_does(steps in prop::collection::vec(steps(), 0..4), root in values()) {
        let text = format!("${}", steps.iter().map(NaiveStep::text).collect::<String>());
        assert_eq!(select(&text, &root), naive(&root, &steps), "{}", text);
    }
}
