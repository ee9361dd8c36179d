using System.Collections;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace SorsaOrt.Ir.Tests.Serialization;

/// <summary>Where two messages of one type differ, field by field, presence included.</summary>
internal static class Differences
{
    private const int Most = 10;

    /// <summary>Paths of the fields that differ, at most ten.</summary>
    public static IReadOnlyList<string> Between(IMessage a, IMessage b)
    {
        var found = new List<string>();
        Compare(a, b, a.Descriptor.Name, found);
        return found;
    }

    private static void Compare(IMessage a, IMessage b, string path, List<string> found)
    {
        foreach (var field in a.Descriptor.Fields.InDeclarationOrder().Where(_ => found.Count < Most))
        {
            var name = path + "." + field.Name;
            var (x, y) = (field.Accessor.GetValue(a), field.Accessor.GetValue(b));
            if (field.IsRepeated)
            {
                var (xs, ys) = (((IList)x).Cast<object>().ToList(), ((IList)y).Cast<object>().ToList());
                if (xs.Count != ys.Count)
                    found.Add($"{name}: {xs.Count} and {ys.Count} entries");
                for (var i = 0; i < Math.Min(xs.Count, ys.Count) && found.Count < Most; i++)
                    CompareValues(field, xs[i], ys[i], $"{name}[{i}]", found);
            }
            else if (field.HasPresence && field.Accessor.HasValue(a) != field.Accessor.HasValue(b))
                found.Add($"{name}: present in one only ({x} and {y})");
            else if (!field.HasPresence || field.Accessor.HasValue(a))
                CompareValues(field, x, y, name, found);
        }
    }

    private static void CompareValues(FieldDescriptor field, object x, object y, string name, List<string> found)
    {
        if (field.FieldType == FieldType.Message)
            Compare((IMessage)x, (IMessage)y, name, found);
        else if (!x.Equals(y))
            found.Add($"{name}: {x} and {y}");
    }
}
