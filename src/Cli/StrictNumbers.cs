using System.Globalization;
using System.Reflection;
using CommandLine;

namespace SorsaOrt.Cli;

/// <summary>Numbers with a fraction as written in code. The parser's own conversion takes 0,001 for a thousand-separated 1.</summary>
internal static class StrictNumbers
{
    /// <summary>Checks every option of <paramref name="verb"/> that is such a number.</summary>
    /// <exception cref="UsageException">A value is none; the option is named.</exception>
    public static void Check(string[] arguments, Type verb)
    {
        foreach (var property in verb.GetProperties())
        {
            if ((Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType) != typeof(double)
                || property.GetCustomAttribute<OptionAttribute>() is not { } option || Usage.ValueOf(option.LongName, arguments) is not { } text)
                continue;
            if (!double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out _))
                throw new UsageException($"--{option.LongName} '{Printable.Text(text)}' is not a number; write it with a decimal point, such as 0.001 or 1e-3.");
        }
    }
}
