using System.Text;
using ScottPlot;
using SorsaOrt.Artifacts;
using SorsaOrt.Trainer;

namespace SorsaOrt.Report;

/// <summary>The picture and the page of a run: loss.png and report.html.</summary>
public static class RunReport
{
    /// <summary>Name of the picture.</summary>
    public const string Picture = "loss.png";

    /// <summary>Name of the page; its pictures are inside it, so that it opens anywhere and without a network.</summary>
    public const string Page = "report.html";

    private const int Width = 1000;
    private const int Height = 560;

    /// <summary>Draws both into the run's folder.</summary>
    /// <exception cref="InvalidDataException">There are no steps to draw.</exception>
    /// <exception cref="ArtifactMismatchException">The folder is not that of a run.</exception>
    public static void Write(string runFolder)
    {
        var record = RunRecord.Read(runFolder);
        var curves = RunCurves.Read(runFolder);
        using (var plot = Charts.Loss(curves))
            AtomicFile.Write(Path.Combine(runFolder, Picture), plot.GetImageBytes(Width, Height, ImageFormat.Png), force: true);
        var page = new RunPage(Path.GetFileName(Path.GetFullPath(runFolder)), record, curves, SpectraOf(record, runFolder, out var missing), missing);
        AtomicFile.Write(Path.Combine(runFolder, Page), Encoding.UTF8.GetBytes(page.ToHtml()), force: true);
    }

    // The page is worth having without them: the artifacts may have been moved away since.
    private static IReadOnlyList<SingularValues> SpectraOf(RunRecord record, string runFolder, out string? missing)
    {
        missing = null;
        try
        {
            return SingularValues.Read(ArtifactSet.Open(record.Resolve(record.Settings.Artifacts), Verification.Sizes), runFolder);
        }
        catch (Exception e) when (e is ArtifactMismatchException or IOException)
        {
            missing = e.Message;
            return [];
        }
    }
}
