using System.Globalization;
using System.Reflection;
using CommandLine;

namespace SorsaOrt.Cli;

/// <summary>The options of a verb, each with its value. The parser would drop a word that belongs to no option, take --force=false for --force,
/// leave an option out that has no value, and read 0,001 as a thousand-separated 1: all of that is refused here.</summary>
internal static class CommandArguments
{
    /// <summary>The arguments rewritten; from the first option that the verb does not know they are left to the parser, which names it or shows the help.</summary>
    /// <exception cref="UsageException">One of them would not be understood as it was meant; it is named.</exception>
    public static string[] Normalize(string[] arguments, Type verb)
    {
        var known = OptionsOf(verb);
        var given = new Dictionary<string, string>(StringComparer.Ordinal);
        var result = new List<string> { arguments[0] };
        for (var i = 1; i < arguments.Length; i++)
        {
            var argument = arguments[i] == "-h" ? "--help" : arguments[i];
            if (!argument.StartsWith("--", StringComparison.Ordinal))
                throw new UsageException($"'{Printable.Text(argument)}' belongs to no option; write a list with commas and without spaces, and a text or path with spaces in quotes.");
            var equals = argument.IndexOf('=', StringComparison.Ordinal);
            var name = equals < 0 ? argument[2..] : argument[2..equals];
            if (!known.TryGetValue(name, out var option))
                return [.. result, argument, .. arguments[(i + 1)..]];
            var values = new List<string>();
            if (equals >= 0)
                values.Add(argument[(equals + 1)..]);
            else if (option.Type != typeof(bool))
            {
                while (i + 1 < arguments.Length && !IsOption(arguments[i + 1], known) && (values.Count == 0 || option.IsList))
                    values.Add(arguments[++i]);
            }
            Check(name, option, values, given);
            if (option.Type == typeof(bool))
                result.Add(argument);
            foreach (var value in values)
                result.AddRange(value.StartsWith('-') ? [$"--{name}={value}"] : ["--" + name, value]); // The parser takes no text that is empty or begins with a space behind a =.
        }
        return [.. result];
    }

    /// <summary>The options of a verb by their long names.</summary>
    public static Dictionary<string, KnownOption> OptionsOf(Type verb) => verb.GetProperties()
        .Select(p => (p.PropertyType, Attribute: p.GetCustomAttribute<OptionAttribute>()))
        .Where(p => p.Attribute is not null)
        .ToDictionary(p => p.Attribute!.LongName, p => new KnownOption(Nullable.GetUnderlyingType(p.PropertyType) ?? p.PropertyType, p.Attribute!.MetaValue), StringComparer.Ordinal);

    private static bool IsOption(string argument, Dictionary<string, KnownOption> known) => argument is "--help" or "--version"
        || argument.StartsWith("--", StringComparison.Ordinal) && known.ContainsKey(argument[2..].Split('=')[0]);

    private static void Check(string name, KnownOption option, List<string> values, Dictionary<string, string> given)
    {
        if (option.Type == typeof(bool))
        {
            if (values.Count > 0)
                throw new UsageException($"--{name} takes no value; write it alone, or leave it out.");
            return;
        }
        if (values.Count == 0)
            throw new UsageException($"--{name} needs a value.");
        foreach (var value in values)
        {
            if (value.Length == 0 && !option.IsText)
                throw new UsageException($"--{name} is empty; give it a value, or leave it out.");
            if (option.Type == typeof(double) && !double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out _))
                throw new UsageException($"--{name} '{Printable.Text(value)}' is not a number; write it with a decimal point, such as 0.001 or 1e-3.");
            if (!option.IsList && !given.TryAdd(name, value) && given[name] != value)
                throw new UsageException($"--{name} is given twice, as '{Printable.Text(given[name])}' and '{Printable.Text(value)}'.");
        }
    }
}

/// <summary>An option of a verb.</summary>
/// <param name="Type">Of its value, not nullable.</param>
/// <param name="MetaValue">What its value is called in the help.</param>
internal readonly record struct KnownOption(Type Type, string? MetaValue)
{
    /// <summary>Whether it takes several values.</summary>
    public bool IsList => Type == typeof(IEnumerable<string>);

    /// <summary>Whether it is free text, which may be empty, rather than a name or a path.</summary>
    public bool IsText => MetaValue?.StartsWith("TEXT", StringComparison.Ordinal) == true;
}
