using System.Globalization;
using System.Text;

namespace SorsaOrt.Data;

/// <summary>Reads a chat template: recursive descent, with a bound on its depth.</summary>
internal sealed class JinjaParser
{
    private const int MaxDepth = 64;
    private static readonly string[] Operators = ["==", "!=", "+", "~", "%", "(", ")", "[", "]", ".", ":", "|", "=", ",", "<=", ">=", "<", ">", "-", "*", "/", "{", "}"];

    private readonly List<(char Kind, string Text)> _blocks;   // '=' literal, '{' output, '%' statement
    private List<(char Kind, string Text)> _tokens = [];       // 'n' name, 's' string, '0' number, 'o' operator
    private int _block;
    private int _token;
    private int _depth;

    private JinjaParser(List<(char, string)> blocks) => _blocks = blocks;

    /// <summary>The parts of a template.</summary>
    /// <exception cref="NotSupportedException">With the construct that is not supported, by name.</exception>
    public static IReadOnlyList<JinjaNode> Parse(string template)
    {
        var parser = new JinjaParser(Blocks(template));
        var nodes = parser.ParseNodes(out string end);
        return end.Length == 0 ? nodes : throw Refuse($"'{end}' without its beginning");
    }

    private static NotSupportedException Refuse(string construct) => new($"the chat template uses {construct}, which is not supported");

    /// <summary>Cuts the template at {{ }}, {% %} and {# #}, with Jinja's trim_blocks and lstrip_blocks as transformers sets them.</summary>
    private static List<(char, string)> Blocks(string template)
    {
        var blocks = new List<(char, string)>();
        int from = 0;
        bool trimNext = false, dropLineEnd = false;
        while (from < template.Length)
        {
            int open = template.IndexOf('{', from);
            while (open >= 0 && !(open + 1 < template.Length && template[open + 1] is '{' or '%' or '#'))
                open = template.IndexOf('{', open + 1);
            string literal = open < 0 ? template[from..] : template[from..open];
            bool atLineStart = from == 0;
            if (dropLineEnd && literal.StartsWith('\n'))
                (literal, atLineStart) = (literal[1..], true);
            literal = trimNext ? literal.TrimStart() : literal;
            if (open < 0)
            {
                blocks.Add(('=', literal));
                return blocks;
            }
            char kind = template[open + 1];
            string close = kind switch { '{' => "}}", '%' => "%}", _ => "#}" };
            int end = EndOf(template, open + 2, close);
            string inner = template[(open + 2)..end];
            if (inner.StartsWith('-'))
                literal = literal.TrimEnd();
            else if (kind != '{' && literal.TrimEnd(' ', '\t') is var stripped && (stripped.Length == 0 ? atLineStart : stripped.EndsWith('\n')))
                literal = stripped;
            trimNext = inner.EndsWith('-');
            dropLineEnd = kind != '{';
            if (literal.Length > 0)
                blocks.Add(('=', literal));
            if (kind != '#')
                blocks.Add((kind, inner.TrimStart('-', '+').TrimEnd('-', '+')));
            from = end + 2;
        }
        return blocks;
    }

    /// <summary>Where a tag closes: not inside a string literal.</summary>
    private static int EndOf(string template, int from, string close)
    {
        char quote = '\0';
        for (int i = from; i + 1 < template.Length; i++)
        {
            if (quote != '\0')
            {
                if (template[i] == '\\')
                    i++;
                else if (template[i] == quote)
                    quote = '\0';
            }
            else if (template.AsSpan(i).StartsWith(close, StringComparison.Ordinal))
            {
                return i;
            }
            else if (close != "#}" && template[i] is '\'' or '"')
            {
                quote = template[i];
            }
        }
        throw Refuse($"a tag that is not closed with {close}");
    }

    private List<JinjaNode> ParseNodes(out string end)
    {
        if (++_depth > MaxDepth)
            throw Refuse("blocks nested too deeply");
        var nodes = new List<JinjaNode>();
        end = "";
        while (_block < _blocks.Count && end.Length == 0)
        {
            var (kind, text) = _blocks[_block++];
            if (kind == '=')
            {
                nodes.Add(new JinjaLiteral(text));
                continue;
            }
            (_tokens, _token) = (Tokens(text), 0);
            if (kind == '{')
                nodes.Add(new JinjaOutput(WholeExpression()));
            else if (ParseStatement(out end) is { } node)
                nodes.Add(node);
        }
        _depth--;
        return nodes;
    }

    private JinjaNode? ParseStatement(out string end)
    {
        string word = Next('n', "a statement");
        end = "";
        switch (word)
        {
            case "for":
                string name = Next('n', "a 'for' without a name");
                if (!Take("in"))
                    throw Refuse("a 'for' over several names");
                var items = WholeExpression();
                var body = ParseNodes(out string after);
                return after == "endfor" ? new JinjaFor(name, items, body) : throw Refuse(after.Length == 0 ? "a 'for' without 'endfor'" : $"'{after}' inside a 'for'");
            case "if":
                return ParseIf();
            case "set":
                string target = Next('n', "a 'set' without a name");
                return Take("=") ? new JinjaSet(target, WholeExpression()) : throw Refuse("a 'set' of something other than a name");
            case "endfor" or "endif" or "else" or "elif":
                end = word;
                return null;
            case "generation" or "endgeneration":   // marks answers, which are known here
                return null;
            default:
                throw Refuse($"the statement '{DataFormatException.Printable(word)}'");
        }
    }

    private JinjaIf ParseIf()
    {
        var branches = new List<(JinjaExpression?, IReadOnlyList<JinjaNode>)>();
        JinjaExpression? condition = WholeExpression();
        while (true)
        {
            var nodes = ParseNodes(out string end);
            branches.Add((condition, nodes));
            switch (end)
            {
                case "endif": return new JinjaIf(branches);
                case "elif": condition = WholeExpression(); break;   // its tokens are the current ones
                case "else": condition = null; break;
                default: throw Refuse("an 'if' without 'endif'");
            }
        }
    }

    private JinjaExpression WholeExpression()
    {
        var expression = ParseOr();
        return _token == _tokens.Count ? expression : throw Refuse($"'{DataFormatException.Printable(_tokens[_token].Text)}' in an expression");
    }

    private JinjaExpression ParseOr()
    {
        if (++_depth > MaxDepth)
            throw Refuse("expressions nested too deeply");
        var left = ParseAnd();
        while (Take("or"))
            left = new JinjaBinary("or", left, ParseAnd());
        _depth--;
        return left;
    }

    private JinjaExpression ParseAnd()
    {
        var left = ParseNot();
        while (Take("and"))
            left = new JinjaBinary("and", left, ParseNot());
        return left;
    }

    private JinjaExpression ParseNot()
    {
        int count = 0;
        while (Take("not"))
            count++;
        var inner = ParseComparison();
        return count % 2 == 0 ? inner : new JinjaNot(inner);
    }

    private JinjaExpression ParseComparison()
    {
        var left = ParseSum();
        if (Take("is"))
        {
            bool wanted = !Take("not");
            string test = Next('n', "an 'is' without a test");
            return test switch
            {
                "defined" => new JinjaIsDefined(left, wanted),
                "none" => new JinjaBinary(wanted ? "==" : "!=", left, new JinjaConstant(null)),
                _ => throw Refuse($"the test 'is {DataFormatException.Printable(test)}'"),
            };
        }
        return Take("==") ? new JinjaBinary("==", left, ParseSum()) : Take("!=") ? new JinjaBinary("!=", left, ParseSum()) : left;
    }

    private JinjaExpression ParseSum()
    {
        var left = ParsePostfix();
        while (true)
        {
            string? found = Take("+") ? "+" : Take("~") ? "~" : Take("%") ? "%" : null;
            if (found is null)
                return left;
            left = new JinjaBinary(found, left, ParsePostfix());
        }
    }

    private JinjaExpression ParsePostfix()
    {
        var value = ParsePrimary();
        while (true)
        {
            if (Take("."))
            {
                value = new JinjaMember(value, Next('n', "a '.' without a name"));
            }
            else if (Take("["))
            {
                value = ParseIndex(value);
            }
            else if (Take("|"))
            {
                string filter = Next('n', "a '|' without a filter");
                value = filter == "trim" ? new JinjaTrim(value) : throw Refuse($"the filter '{DataFormatException.Printable(filter)}'");
            }
            else
            {
                return value;
            }
        }
    }

    private JinjaExpression ParseIndex(JinjaExpression of)
    {
        var index = ParseOr();
        bool slice = Take(":");
        if (!Take("]"))
            throw Refuse("a slice with an end");
        return !slice && index is JinjaConstant { Value: JinjaText name } ? new JinjaMember(of, name.Plain) : new JinjaItem(of, index, slice);
    }

    private JinjaExpression ParsePrimary()
    {
        if (_token >= _tokens.Count)
            throw Refuse("an expression that is cut short");
        var (kind, text) = _tokens[_token++];
        switch (kind)
        {
            case 's':
                return new JinjaConstant(JinjaText.Of(text));
            case '0':
                return new JinjaConstant(long.Parse(text, CultureInfo.InvariantCulture));
            case 'o' when text == "(":
                var inner = ParseOr();
                return Take(")") ? inner : throw Refuse("a list in parentheses");
            case 'o' when text == "-" && _token < _tokens.Count && _tokens[_token].Kind == '0':
                return new JinjaConstant(-long.Parse(_tokens[_token++].Text, CultureInfo.InvariantCulture));
            case 'n' when text is "true" or "True" or "false" or "False":
                return new JinjaConstant(text is "true" or "True");
            case 'n' when text is "none" or "None":
                return new JinjaConstant(null);
            case 'n' when text == "raise_exception" && Take("("):
                var message = ParseOr();
                return Take(")") ? new JinjaRaise(message) : throw Refuse("raise_exception with several values");
            case 'n' when _token < _tokens.Count && _tokens[_token].Text == "(" && _tokens[_token].Kind == 'o':
                throw Refuse($"the function '{DataFormatException.Printable(text)}'");
            case 'n':
                return new JinjaName(text);
            default:
                throw Refuse($"'{text}' in an expression");
        }
    }

    private bool Take(string text)
    {
        if (_token >= _tokens.Count || _tokens[_token] is not ('n' or 'o', var found) || found != text)
            return false;
        _token++;
        return true;
    }

    private string Next(char kind, string otherwise) =>
        _token < _tokens.Count && _tokens[_token].Kind == kind ? _tokens[_token++].Text : throw Refuse(otherwise);

    private static List<(char, string)> Tokens(string text)
    {
        var tokens = new List<(char, string)>();
        for (int at = 0; at < text.Length;)
        {
            char c = text[at];
            int from = at;
            if (char.IsWhiteSpace(c))
            {
                at++;
            }
            else if (c is '\'' or '"')
            {
                tokens.Add(('s', Literal(text, ref at)));
            }
            else if (char.IsAsciiLetter(c) || c == '_')
            {
                while (at < text.Length && (char.IsAsciiLetterOrDigit(text[at]) || text[at] == '_'))
                    at++;
                tokens.Add(('n', text[from..at]));
            }
            else if (char.IsAsciiDigit(c))
            {
                while (at < text.Length && char.IsAsciiDigit(text[at]) && at - from < 9)
                    at++;
                tokens.Add(('0', text[from..at]));
            }
            else
            {
                string found = Array.Find(Operators, o => text.AsSpan(at).StartsWith(o, StringComparison.Ordinal)) ?? throw Refuse($"the character '{DataFormatException.Printable(c.ToString())}'");
                tokens.Add(('o', found));
                at += found.Length;
            }
        }
        return tokens;
    }

    private static string Literal(string text, ref int at)
    {
        char quote = text[at++];
        var literal = new StringBuilder();
        for (; at < text.Length; at++)
        {
            if (text[at] == quote)
            {
                at++;
                return literal.ToString();
            }
            if (text[at] == '\\' && at + 1 < text.Length)
                literal.Append(text[++at] switch { 'n' => '\n', 't' => '\t', 'r' => '\r', var other => other });
            else
                literal.Append(text[at]);
        }
        throw Refuse("a text that is not closed");
    }
}
