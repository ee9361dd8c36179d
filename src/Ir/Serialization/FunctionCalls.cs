using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Model-local functions: refuses those that call themselves, directly or through others.</summary>
internal static class FunctionCalls
{
    /// <summary><c>domain::name</c>, with <c>::overload</c> where there is one.</summary>
    public static string NameOf(FunctionProto f) => Key(f.Domain, f.Name, f.Overload);

    /// <summary>Throws where two functions share a name or a function ends up calling itself.</summary>
    public static void Check(ModelProto model)
    {
        if (model.Functions.Count == 0)
            return;
        var calls = new Dictionary<string, HashSet<string>>(StringComparer.Ordinal);
        foreach (var function in model.Functions)
        {
            if (!calls.TryAdd(NameOf(function), [.. Called(function)]))
                throw new ModelFormatException($"the function {Quoted.Text(NameOf(function))} is defined twice");
        }
        // Functions that call none of those left are taken away until nothing changes; a cycle stays.
        var callers = new Dictionary<string, List<string>>(StringComparer.Ordinal);
        foreach (var (name, called) in calls)
        {
            called.IntersectWith(calls.Keys);
            foreach (var callee in called)
                (callers.TryGetValue(callee, out var list) ? list : callers[callee] = []).Add(name);
        }
        var done = new Queue<string>(calls.Where(c => c.Value.Count == 0).Select(c => c.Key));
        var left = calls.Count;
        for (; done.TryDequeue(out var name); left--)
        {
            foreach (var caller in callers.GetValueOrDefault(name) ?? [])
            {
                if (calls[caller].Remove(name) && calls[caller].Count == 0)
                    done.Enqueue(caller);
            }
        }
        if (left > 0)
            throw new ModelFormatException($"the function {Quoted.Text(calls.First(c => c.Value.Count > 0).Key)} calls itself, directly or through another");
    }

    private static IEnumerable<string> Called(FunctionProto function)
    {
        var pending = new Stack<NodeProto>(function.Node);
        while (pending.TryPop(out var node))
        {
            yield return Key(node.Domain, node.OpType, node.Overload);
            foreach (var attribute in node.Attribute)
            {
                foreach (var inner in attribute.Graphs.Append(attribute.G).Where(g => g is not null).SelectMany(g => g.Node))
                    pending.Push(inner);
            }
        }
    }

    private static string Key(string domain, string name, string overload) =>
        $"{OnnxReader.StandardDomain(domain)}::{name}" + (overload.Length == 0 ? "" : "::" + overload);
}
