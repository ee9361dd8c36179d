using Google.Protobuf;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Model-local functions: what an operator means to a runtime that has no kernel for it.</summary>
public static class LocalFunctions
{
    /// <summary>Gives <paramref name="model"/>, which must have none yet, a function of <paramref name="domain"/> whose body is a graph without initializers.</summary>
    /// <param name="model">Imports <paramref name="domain"/> already.</param>
    /// <param name="domain">Domain of the operator.</param>
    /// <param name="body">Its name is the operator's; its inputs, nodes and outputs are the function's.</param>
    public static void Add(Model model, string domain, Graph body)
    {
        if (body.Initializers.Any())
            throw new InvalidOperationException($"The body of '{body.Name}' holds initializers; a function cannot.");
        if (model.FunctionNames.Count > 0)
            throw new InvalidOperationException($"The model defines functions already: {string.Join(", ", model.FunctionNames)}.");
        var message = GraphWriter.Message(body, withInitializers: false);
        var function = new FunctionProto { Name = body.Name, Domain = domain };
        function.Input.AddRange(body.Inputs.Select(i => i.Name));
        function.Output.AddRange(body.Outputs.Select(o => o.Name));
        function.Node.AddRange(message.Node);
        function.OpsetImport.Add(new OperatorSetIdProto { Domain = "", Version = model.Opset });
        var kept = model.Uninterpreted is { } bytes ? ModelProto.Parser.ParseFrom(bytes) : new ModelProto();
        kept.Functions.Add(function);
        model.Uninterpreted = kept.ToByteArray();
        model.FunctionNames = [$"{domain}::{body.Name}"];
    }
}
