using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.GraphBuilder;

/// <summary>The small graphs of an optimizer step, the same for every model.</summary>
internal static class OptimizerFiles
{
    public static void Write(StagedFolder folder)
    {
        Write(folder, ArtifactFiles.NormModel, OptimizerGraphs.Norm());
        Write(folder, ArtifactFiles.RegularizerOfRowsModel, OptimizerGraphs.RegularizerOfRows());
        Write(folder, ArtifactFiles.RegularizerOfColumnsModel, OptimizerGraphs.RegularizerOfColumns());
        Write(folder, ArtifactFiles.OptimizerModel, OptimizerGraphs.AdamW());
    }

    private static void Write(StagedFolder folder, string name, Model model)
    {
        using (model)
            folder.Write(name, OnnxWriter.ToBytes(model));
    }
}
