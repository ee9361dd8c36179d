using System.Globalization;
using System.Text;
using SorsaOrt.Data;

namespace SorsaOrt.Cli;

/// <summary>A row's tokens for reading: | between tokens, [ ] around those that are learnt.</summary>
internal static class RowText
{
    /// <summary>The row with a line above it that counts its tokens. Without a tokenizer tokens are their ids.</summary>
    public static string Of(in EncodedRow row, int line, Tokenizer? tokenizer)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"line {line}: {row.InputIds.Length} tokens, {row.Labels.Count(l => l >= 0)} learnt\n  ");
        for (int i = 0; i < row.InputIds.Length; i++)
        {
            bool learnt = row.Labels[i] >= 0, before = i > 0 && row.Labels[i - 1] >= 0;
            text.Append(learnt && !before ? "[" : !learnt && before ? "]" : i > 0 ? "|" : "");
            string token = tokenizer is null ? row.InputIds[i].ToString(CultureInfo.InvariantCulture)
                : new TokenStream(tokenizer, keepLeadingSpace: true, showSpecial: true) is var stream ? stream.Append(row.InputIds[i]) + stream.Flush() : "";
            text.Append(Printable.Text(token.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)));
        }
        return text.Append(row.Labels[^1] >= 0 ? "]" : "").ToString();
    }
}
